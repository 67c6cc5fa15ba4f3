//! How connections end: resets at awkward moments, closes in both directions at once, data that is
//! still on its way. Each program runs on kernel sockets and under `run`, and has to print the same.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::peers::{echo, linger_zero, serve, wait_until_acknowledged};
use common::{HOST, isolated, python, run, same_as_kernel, stdout};

const PRELUDE: &str = r#"
import errno, os, select, signal, socket, struct, sys, threading
def name(e): return errno.errorcode.get(e, e)
def attempt(f, *a):
    try: return f(*a)
    except OSError as e: return name(e.errno) or repr(e)
def so_error(s): return name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
def poll(s, wanted):
    p = select.poll(); p.register(s, wanted); return [e for _, e in p.poll()]
peer = (sys.argv[1], int(sys.argv[2]))
"#;

fn differential(code: &str, port: &str) -> String {
    let code = format!("{PRELUDE}\n{code}");
    same_as_kernel(|| python(&code, &[HOST, port]))
}

/// Answers a request that ends with a half-close with half an answer and a reset.
fn half_an_answer(mut stream: TcpStream) {
    stream.read_to_end(&mut Vec::new()).unwrap();
    stream.write_all(b"half").unwrap();
    // The reset must not overtake the answer: it is sent when the peer has confirmed it all.
    wait_until_acknowledged(&stream);
    linger_zero(&stream);
}

#[test]
fn a_reset_after_a_half_close_is_no_end_of_file() {
    isolated(|| {
        let port = serve(half_an_answer);
        let code = r"
for how in ('small', 'large'):
    s = socket.create_connection(peer)
    s.sendall(b'x' if how == 'small' else bytes(3 << 20))
    s.shutdown(socket.SHUT_WR)
    print(s.recv(4, socket.MSG_WAITALL), attempt(s.recv, 1), attempt(s.recv, 1))
";
        let printed = differential(code, &port);
        assert!(printed.contains("ECONNRESET"), "{printed}");
    });
}

/// Sends an answer that nobody asked for, takes nothing, and resets.
fn reject(mut stream: TcpStream) {
    stream.read_exact(&mut [0; 1]).unwrap();
    stream.write_all(&[b'r'; 20_000]).unwrap();
    wait_until_acknowledged(&stream);
    linger_zero(&stream);
}

#[test]
fn an_early_answer_survives_the_reset_of_the_upload() {
    isolated(|| {
        let port = serve(reject);
        // The upload meets the reset; the answer was there before, and is read afterwards.
        let code = r"
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
for i in range(20):
    s = socket.create_connection(peer)
    try:
        while True: s.send(bytes(50000))
    except OSError: pass
    got = b''
    try:
        while piece := s.recv(1 << 16): got += piece
    except OSError: pass
    print(len(got))
";
        assert_eq!(differential(code, &port), "20000\n".repeat(20));
    });
}

#[test]
fn an_error_is_told_once_by_read_or_by_so_error() {
    isolated(|| {
        let port = serve(|mut stream| {
            stream.read_exact(&mut [0; 1]).unwrap();
            linger_zero(&stream);
        });
        let code = r"
for first in ('read', 'ask'):
    s = socket.create_connection(peer); s.sendall(b'x')
    while not poll(s, select.POLLIN)[0] & select.POLLERR: pass
    if first == 'read': print(attempt(s.recv, 1), so_error(s), attempt(s.recv, 1))
    else: print(so_error(s), so_error(s), attempt(s.recv, 1))
    print('connect', attempt(s.connect, peer))
";
        differential(code, &port);
    });
}

#[test]
fn connecting_what_was_connected_is_refused_for_ever() {
    isolated(|| {
        let port = serve(echo);
        let code = r"
s = socket.create_connection(peer)
s.shutdown(socket.SHUT_WR); print(s.recv(1))
while not poll(s, select.POLLIN)[0] & select.POLLHUP: pass
print(attempt(s.connect, peer), attempt(s.shutdown, socket.SHUT_RD))
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1); print(so_error(s))
";
        differential(code, &port);
    });
}

#[test]
fn after_both_sides_are_shut_the_names_stay_and_nothing_lingers() {
    isolated(|| {
        // This peer never closes, and keeps its side for as long as the test takes.
        let port = serve(|mut stream| {
            stream.read_to_end(&mut Vec::new()).unwrap();
            thread::park();
        });
        let code = r"
s = socket.create_connection(peer); s.sendall(b'x'); s.shutdown(socket.SHUT_RDWR)
print(s.recv(1), attempt(s.getpeername) == peer)
signal.signal(signal.SIGPIPE, signal.SIG_IGN); print(attempt(s.send, b'x'))
";
        let began = Instant::now();
        differential(code, &port);
        assert!(began.elapsed() < Duration::from_secs(15), "it waited for a peer that owes nothing");
    });
}

#[test]
fn closing_without_reading_does_not_block_the_rest_of_the_upload() {
    isolated(|| {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        // Echoes without reading ahead: while its answers are not taken it takes nothing.
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut total, mut buffer) = (0, vec![0; 1 << 16]);
            while let Ok(got @ 1..) = stream.read(&mut buffer) {
                total += got;
                if stream.write_all(&buffer[..got]).is_err() {
                    break;
                }
            }
            total
        });
        let code = format!(
            "{PRELUDE}\ns = socket.create_connection(peer); s.setblocking(False)\n\
             while select.select([], [s], [], 0.3)[1]: attempt(s.send, bytes(1 << 16))\n\
             s.close(); print('closed')"
        );
        let began = Instant::now();
        assert_eq!(stdout(&run(python(&code, &[HOST, &port]))), "closed\n");
        assert!(server.join().unwrap() > 0);
        assert!(began.elapsed() < Duration::from_secs(15), "stuck until the cap");
    });
}

#[test]
fn a_peer_that_sends_after_the_close_is_told() {
    isolated(|| {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            // The program is gone: sooner or later a write must fail.
            while stream.write_all(&[0; 4096]).is_ok() {}
            stream.shutdown(Shutdown::Both).is_err()
        });
        let code = format!("{PRELUDE}\ns = socket.create_connection(peer); s.sendall(b'x'); s.close()");
        stdout(&run(python(&code, &[HOST, &port])));
        server.join().unwrap();
    });
}
