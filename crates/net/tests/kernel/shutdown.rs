//! The end of a host: in order, in time, and with everything gone afterwards.

use std::io::{ErrorKind, Read, Write as _};
use std::time::{Duration, Instant};

use polypath_net::{MptcpListener, MptcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::namespace::{in_namespace, wait_until_gone};
use crate::peer::{HOST_V4, beside, block_on, host, kernel_listener, kernel_stream, pattern, receive_pattern};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn what_was_written_is_delivered_first() {
    in_namespace(|| {
        let host = host();
        let name = host.tun_name().to_owned();
        // More than the peer takes before somebody reads there.
        let len = 8 << 20;
        for multipath in [false, true] {
            let listener = kernel_listener(false, multipath);
            let addr = listener.local_addr().unwrap();
            let (read_now, wait) = std::sync::mpsc::channel::<()>();
            let server = beside(move || {
                let (mut stream, _) = listener.accept().unwrap();
                wait.recv().unwrap();
                receive_pattern(&mut stream)
            });
            block_on(async {
                let mut stream = MptcpStream::connect(&host, addr).await.unwrap();
                let data = pattern(0, len);
                let mut written = 0;
                while let Ok(more) = stream.try_write(&data[written..]) {
                    written += more;
                    if written == len {
                        break;
                    }
                }
                if written < len {
                    read_now.send(()).unwrap();
                    stream.write_all(&data[written..]).await.unwrap();
                } else {
                    read_now.send(()).unwrap();
                }
                drop(stream);
                if multipath {
                    host.shutdown(LONG).await.unwrap();
                    wait_until_gone(&name);
                }
            });
            assert_eq!(server.join().unwrap(), len);
        }
    });
}

#[test]
fn connections_still_held_fail_and_listeners_refuse() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let listener = MptcpListener::bind(&host, (HOST_V4, 80)).await.unwrap();
            let peer = beside(|| kernel_stream((HOST_V4, 80).into_addr(), false).unwrap());
            let (mut stream, _) = listener.accept().await.unwrap();
            let _peer = peer.join().unwrap();
            let accepting = listener.accept();
            let mut byte = [0; 1];
            let reading = stream.read(&mut byte);
            let (accepted, read, ended) = tokio::join!(accepting, reading, host.shutdown(LONG));
            // Held ones are not waited for.
            ended.unwrap();
            assert_eq!(accepted.unwrap_err().kind(), ErrorKind::NetworkDown);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::NetworkDown);
            assert_eq!(stream.write(b"x").await.unwrap_err().kind(), ErrorKind::NetworkDown);
            // Again is no error.
            host.shutdown(LONG).await.unwrap();
        });
    });
}

#[test]
fn what_was_shut_down_is_delivered_though_the_stream_is_held() {
    in_namespace(|| {
        let host = host();
        let listener = kernel_listener(false, true);
        let addr = listener.local_addr().unwrap();
        let len = 256 * 1024;
        let (read_now, told) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            told.recv().unwrap();
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        block_on(async {
            let mut stream = MptcpStream::connect(&host, addr).await.unwrap();
            stream.write_all(&pattern(0, len)).await.unwrap();
            stream.shutdown().await.unwrap();
            read_now.send(()).unwrap();
            host.shutdown(LONG).await.unwrap();
            drop(stream);
        });
        assert!(server.join().unwrap().unwrap() == pattern(0, len));
    });
}

#[test]
fn a_peer_that_takes_nothing_holds_it_up_for_no_longer_than_allowed() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let listener = kernel_listener(false, false);
            let stream = MptcpStream::connect(&host, listener.local_addr().unwrap()).await.unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            let data = vec![0; 1 << 20];
            while stream.try_write(&data).is_ok() {}
            drop(stream);
            let limit = Duration::from_millis(50);
            let begun = Instant::now();
            let error = host.shutdown(limit).await.unwrap_err();
            assert!(begun.elapsed() >= limit);
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(error.to_string().contains("1 connection"), "{error}");
            peer.read_exact(&mut [0; 1]).unwrap();
        });
    });
}

#[test]
fn a_peer_that_never_closes_its_side_does_not_hold_it_up() {
    in_namespace(|| {
        for multipath in [false, true] {
            let host = host();
            block_on(async {
                let listener = kernel_listener(false, multipath);
                let mut stream = MptcpStream::connect(&host, listener.local_addr().unwrap()).await.unwrap();
                let (mut peer, _) = listener.accept().unwrap();
                stream.write_all(b"all").await.unwrap();
                drop(stream);
                let begun = Instant::now();
                host.shutdown(LONG).await.unwrap();
                assert!(begun.elapsed() < LONG / 2, "it waited for the peer's end");
                // It has everything, and is told that nobody is there any more.
                peer.read_exact(&mut [0; 3]).unwrap();
                match peer.read(&mut [0; 1]) {
                    // The end came in order before that; whoever writes now is told.
                    Ok(end) => assert!(end == 0 && peer.write(b"?").is_err()),
                    Err(error) => assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
                }
            });
            wait_until_gone(host.tun_name());
        }
    });
}

/// A literal address as one.
trait IntoAddr {
    fn into_addr(self) -> std::net::SocketAddr;
}

impl IntoAddr for (&str, u16) {
    fn into_addr(self) -> std::net::SocketAddr {
        std::net::SocketAddr::new(self.0.parse().unwrap(), self.1)
    }
}
