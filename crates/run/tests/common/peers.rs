//! Servers for the programs under test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::HOST;

/// Serves everyone with `serve`, each in a thread. Returns the port.
pub(crate) fn serve(serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port.to_string()
}

/// Sends back what comes, as it comes; closes when the peer has.
pub(crate) fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 65536];
    while let Ok(got @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..got]).is_err() {
            return;
        }
    }
}

/// Sends back everything in one go, after the peer has half-closed.
pub(crate) fn echo_at_the_end(mut stream: TcpStream) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    stream.write_all(&all).unwrap();
}

/// Says "bye", closes its side, and then counts what still comes.
pub(crate) fn close_first(mut stream: TcpStream) {
    stream.write_all(b"bye").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// Says "cut" and resets the connection as soon as something has come.
pub(crate) fn reset(mut stream: TcpStream) {
    stream.write_all(b"cut").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    linger_zero(&stream);
}

/// A port of [`HOST`] where nobody listens. It stays taken: a listener that may have any would be given it now and then.
pub(crate) fn closed_port() -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((HOST.parse::<Ipv4Addr>().unwrap(), 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    std::mem::forget(socket);
    port.to_string()
}

/// Makes the close of `stream` a reset.
pub(crate) fn linger_zero(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: pointer and length describe `linger`.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0);
}

/// Until the peer's kernel has all that was written.
pub(crate) fn wait_until_acknowledged(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    loop {
        let mut unsent: libc::c_int = 0;
        // SAFETY: SIOCOUTQ writes one int.
        let asked = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
        assert_eq!(asked, 0);
        if unsent == 0 {
            return;
        }
        thread::yield_now();
    }
}
