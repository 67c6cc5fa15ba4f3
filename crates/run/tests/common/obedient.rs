//! A server that does what the program under test tells it to, one byte for each command.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::HOST;
use super::peers::{linger_zero, wait_until_acknowledged};

/// Connections whose program has closed its side, and that stay open.
type Held = Arc<Mutex<Vec<TcpStream>>>;

/// Starts it. Returns the port.
pub(crate) fn serve() -> String {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let held = Held::default();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let held = Arc::clone(&held);
            thread::spawn(move || obey(stream.unwrap(), &held));
        }
    });
    port.to_string()
}

fn obey(mut stream: TcpStream, held: &Held) {
    let (mut command, mut closes) = ([0], false);
    while let Ok(1) = stream.read(&mut command) {
        match command[0] {
            b'd' => stream.write_all(b"data").unwrap(),
            // Half-closed, with something to read.
            b'h' => {
                stream.write_all(b"bye").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
            b'c' => return,
            b'e' => closes = true,
            b'r' => return linger_zero(&stream),
            b'R' => {
                stream.write_all(b"cut").unwrap();
                wait_until_acknowledged(&stream);
                return linger_zero(&stream);
            }
            // Nothing is held any more.
            b's' => {
                held.lock().unwrap().clear();
                // The program may be gone.
                let _ = stream.write_all(b"s");
            }
            // What the program sends to see whether it can.
            _ => {}
        }
    }
    if !closes {
        held.lock().unwrap().push(stream);
    }
}
