//! client ADDRESS IN OUT: sends one file while it writes what comes, to the end, into the other.
//! server PORT: sends back what it reads, to the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

fn client(address: &str, from: &str, to: &str) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    let (mut out, mut content) = (stream.try_clone()?, File::open(from)?);
    let sending = thread::spawn(move || {
        io::copy(&mut content, &mut out)?;
        out.shutdown(Shutdown::Write)
    });
    let mut file = File::create(to)?;
    io::copy(&mut &stream, &mut file)?;
    file.flush()?;
    sending.join().expect("the sending thread")
}

fn server(port: u16) -> io::Result<()> {
    for stream in TcpListener::bind(("0.0.0.0", port))?.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            io::copy(&mut &stream, &mut &stream)?;
            stream.shutdown(Shutdown::Write)
        });
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["client", address, from, to] => client(address, from, to),
        ["server", port] => server(port.parse().map_err(io::Error::other)?),
        _ => Err(io::Error::other("client ADDRESS IN OUT, or server PORT")),
    }
}
