//! What `run` leaves to the kernel: UDP, UNIX sockets, loopback, servers.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;

use common::{HOST, KernelTcp, isolated, python, run_counting, runtime, stdout};
use polypath_run::{Options, Runner};

/// Runs `code` both ways; nothing of it may go into the network.
fn differential(code: &str) -> String {
    let kernel = stdout(&python(code, &[HOST]).stdin(Stdio::null()).output().unwrap());
    let (output, connects) = run_counting(python(code, &[HOST]));
    assert_eq!(stdout(&output), kernel, "under `run` (left) and on the kernel (right)");
    assert_eq!(connects, 0, "nothing of this belongs to the network");
    kernel
}

#[test]
fn udp_and_unix_sockets_are_the_kernels() {
    isolated(|| {
        let code = r"
import socket, sys, os
a, b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
b.bind((sys.argv[1], 0))
a.sendto(b'to', b.getsockname()); data, source = b.recvfrom(10); print(data, source[0])
a.connect(b.getsockname()); a.send(b'connected'); print(b.recv(10), a.getpeername() == b.getsockname())
print(a.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), a.sendmsg([b'msg']), b.recvmsg(10)[0])
u = socket.socket(socket.AF_UNIX); u.bind('\0polypath-test'); u.listen()
c = socket.socket(socket.AF_UNIX); c.connect('\0polypath-test'); d, _ = u.accept()
c.sendall(b'unix'); print(d.recv(4), d.getsockname(), c.getpeername(), d.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4] == os.getpid().to_bytes(4, 'little'))
p, q = socket.socketpair(); p.shutdown(socket.SHUT_WR); print(q.recv(1))
print(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))
print(socket.if_nameindex())
";
        differential(code);
    });
}

#[test]
fn loopback_is_the_kernels_tcp_and_keeps_epoll() {
    isolated(|| {
        let code = r"
import socket, select, threading
for family, host in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'), (socket.AF_INET, '0.0.0.0')):
    server = socket.socket(family); server.bind((host, 0)); server.listen()
    s = socket.socket(family); s.setblocking(False)
    ep = select.epoll(); ep.register(s, select.EPOLLOUT | select.EPOLLET); ep.poll(0)
    s.connect_ex(server.getsockname()[:2])
    while not any(e & select.EPOLLOUT for _, e in ep.poll()): pass
    c, who = server.accept()
    print(who == s.getsockname(), s.getpeername()[1] == server.getsockname()[1], s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    s.setblocking(True); s.sendall(b'ping'); print(c.recv(4)); c.sendall(b'pong'); c.close(); print(s.recv(4), s.recv(1))
    port = server.getsockname()[1]; server.close()
    try: socket.socket(family).connect((host, port))
    except OSError as e: print(e.errno)
";
        differential(code);
    });
}

#[test]
fn a_server_program_serves_with_the_kernels_tcp() {
    isolated(|| {
        let code = r"
import http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.path.encode())
        if self.path == '/stop': threading.Thread(target=server.shutdown).start()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
";
        let (out, their_out) = std::io::pipe().unwrap();
        let mut command = python(code, &[HOST]);
        command.stdin(Stdio::null()).stdout(their_out);
        let client = thread::spawn(move || {
            let mut port = String::new();
            BufReader::new(out).read_line(&mut port).unwrap();
            let port: u16 = port.trim().parse().unwrap();
            ["/one", "/two", "/stop"].map(|path| get(port, path))
        });
        let runner = Runner::new(command, KernelTcp::default()).options(Options::default().forward_signals(false));
        let status = runtime().block_on(runner.run()).unwrap();
        assert_eq!(client.join().unwrap(), ["/one", "/two", "/stop"]);
        assert!(status.success());
    });
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect((HOST, port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n\r\n").next().unwrap().to_owned()
}

#[test]
fn asyncio_serves_and_connects_in_one_program() {
    isolated(|| {
        let code = r"
import asyncio, sys
async def main():
    async def echo(r, w):
        w.write(await r.read()); w.close()
    server = await asyncio.start_server(echo, sys.argv[1], 0)
    port = server.sockets[0].getsockname()[1]
    async def one(i):
        r, w = await asyncio.open_connection(sys.argv[1], port)
        data = bytes([i]) * 100000; w.write(data); w.write_eof()
        got = await r.read(); w.close(); return got == data
    print(all(await asyncio.gather(*(one(i) for i in range(50)))))
    try: await asyncio.open_connection(sys.argv[1], 1)
    except ConnectionRefusedError as e: print(e.errno)
asyncio.run(main())
";
        let (output, connects) = run_counting(python(code, &[HOST]));
        assert_eq!(stdout(&output), "True\n111\n");
        assert_eq!(connects, 51);
    });
}

#[test]
fn a_program_without_sockets_is_not_disturbed() {
    isolated(|| {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1000 | (read x; cat) | wc -l"]);
        assert_eq!(stdout(&common::run(command)), "999\n");
    });
}
