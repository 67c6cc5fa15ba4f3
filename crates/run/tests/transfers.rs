//! Whole transfers by real programs: curl, and a static C client.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use common::{HOST, compile_static, isolated, run, run_counting, stdout};
use sha2::{Digest, Sha256};

const SIZE: usize = 64 << 20;

/// Bytes that repeat with no round period.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Serves `body` by HTTP to everyone who asks.
fn serve_http(body: Vec<u8>) -> u16 {
    let listener = TcpListener::bind((HOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &body);
        }
    });
    port
}

fn answer(mut stream: TcpStream, body: &[u8]) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    // A client may go away in the middle.
    let _ = stream.write_all(body);
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn curl_downloads_every_byte() {
    isolated(|| {
        let body = pattern(SIZE);
        let expected = Sha256::digest(&body);
        let port = serve_http(body);
        let mut curl = Command::new("curl");
        curl.args(["-sS", &format!("http://{HOST}:{port}/")]);
        let (output, connects) = run_counting(curl);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(connects, 1);
        assert_eq!(output.stdout.len(), SIZE);
        assert_eq!(hex(&Sha256::digest(&output.stdout)), hex(&expected));
    });
}

#[test]
fn curl_makes_many_transfers_at_once() {
    isolated(|| {
        let port = serve_http(pattern(300_000));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-Z", "--parallel-immediate", "--parallel-max", "40"]);
        curl.arg(format!("http://{HOST}:{port}/[1-40]")).args(["-w", "%{size_download} ", "-o", "/dev/null"]);
        let (output, connects) = run_counting(curl);
        assert_eq!(stdout(&output), "300000 ".repeat(40));
        assert_eq!(connects, 40);
    });
}

#[test]
fn curl_uploads_every_byte() {
    isolated(|| {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let body = pattern(8 << 20);
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("upload");
        std::fs::write(&file, &body).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            let mut piece = vec![0; 1 << 16];
            while !got.ends_with(b"\r\n0\r\n\r\n") && got.len() < (8 << 20) + 4096 {
                match stream.read(&mut piece).unwrap() {
                    0 => break,
                    n => got.extend_from_slice(&piece[..n]),
                }
                let head = got.windows(4).position(|w| w == b"\r\n\r\n");
                if head.is_some_and(|head| got.len() == head + 4 + (8 << 20)) {
                    break;
                }
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            got
        });
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-H", "Expect:", "-T"]).arg(&file).arg(format!("http://{HOST}:{port}/"));
        stdout(&run(curl));
        assert!(server.join().unwrap().ends_with(&body));
    });
}

#[test]
fn a_static_program_connects_blocking_and_echoes() {
    let client = compile_static("echo_client", include_str!("programs/echo_client.c"));
    isolated(|| {
        let listener = TcpListener::bind((HOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let mut command = Command::new(client);
        command.args([HOST, &port, "1000000"]);
        assert_eq!(stdout(&run(command)), "1000000 bytes echoed\n");
        server.join().unwrap();
    });
}
