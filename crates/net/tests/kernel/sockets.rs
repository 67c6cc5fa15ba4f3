//! What a program sees that was written for tokio's sockets: addresses, errors, readiness, halves,
//! and the ways for a connection to end.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use polypath_net::{Host, MptcpListener, MptcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

use crate::namespace::{in_namespace, ip, wait_until_gone};
use crate::peer::{HOST_V4, HOST_V6, beside, block_on, host, kernel_addr, kernel_listener, kernel_stream};

fn host_addr(port: u16) -> SocketAddr {
    SocketAddr::new(HOST_V4.parse().unwrap(), port)
}

/// A connection from our host to a kernel socket.
async fn connected(host: &Host) -> (MptcpStream, std::net::TcpStream) {
    let listener = kernel_listener(false, false);
    let stream = MptcpStream::connect(host, listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (stream, peer)
}

// [9293-MUST-43]
#[test]
fn addresses_are_those_the_peer_sees() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let (stream, peer) = connected(&host).await;
            assert_eq!(stream.local_addr().unwrap(), peer.peer_addr().unwrap());
            assert_eq!(stream.peer_addr().unwrap(), peer.local_addr().unwrap());
            assert_eq!(stream.local_addr().unwrap().ip(), host_addr(0).ip());
            let info = stream.info().unwrap();
            assert_eq!(info.local, stream.local_addr().unwrap());
            assert_eq!(host.connections().len(), 1);

            let listener = kernel_listener(false, false);
            let remote = listener.local_addr().unwrap();
            let from = MptcpStream::connect_from(&host, host_addr(5555), remote).await.unwrap();
            assert_eq!(from.local_addr().unwrap(), host_addr(5555));
        });
    });
}

#[test]
fn connecting_fails_as_a_kernel_socket_does() {
    in_namespace(|| {
        let host = Host::builder().address(HOST_V4.parse().unwrap(), None, false).start().unwrap();
        block_on(async {
            let mut nobody = kernel_addr(false);
            nobody.set_port(9);
            let refused = MptcpStream::connect(&host, nobody).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));

            let not_ours = "10.9.9.9:0".parse().unwrap();
            let foreign = MptcpStream::connect_from(&host, not_ours, nobody).await.unwrap_err();
            assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);

            let mut v6 = kernel_addr(true);
            v6.set_port(9);
            let unreachable = MptcpStream::connect(&host, v6).await.unwrap_err();
            assert_eq!(unreachable.kind(), ErrorKind::NetworkUnreachable);

            // Of several addresses, the one that answers.
            let listener = kernel_listener(false, false);
            let all = [v6, nobody, listener.local_addr().unwrap()];
            let stream = MptcpStream::connect(&host, &all[..]).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), all[2]);
        });
    });
}

#[test]
fn listening_fails_as_a_kernel_socket_does() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let first = MptcpListener::bind(&host, host_addr(0)).await.unwrap();
            let taken = first.local_addr().unwrap();
            assert_ne!(taken.port(), 0);
            let again = MptcpListener::bind(&host, taken).await.unwrap_err();
            assert_eq!(again.kind(), ErrorKind::AddrInUse);
            let foreign = MptcpListener::bind(&host, "10.9.9.9:80").await.unwrap_err();
            assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);

            drop(first);
            let refused = beside(move || kernel_stream(taken, false).unwrap_err());
            assert_eq!(refused.join().unwrap().kind(), ErrorKind::ConnectionRefused);
            MptcpListener::bind(&host, taken).await.unwrap();
        });
    });
}

// [9293-MUST-42]
#[test]
fn several_tasks_accept_from_one_listener() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let listener = MptcpListener::bind(&host, "0.0.0.0:80").await.unwrap();
            let clients = beside(|| (0..3).map(|_| kernel_stream(host_addr(80), false).unwrap()).collect::<Vec<_>>());
            let polled = poll_fn(|cx| listener.poll_accept(cx));
            let (one, two, three) = tokio::join!(listener.accept(), listener.accept(), polled);
            let mut accepted = [one, two, three].map(|result| result.unwrap().1);
            let mut clients: Vec<_> =
                clients.join().unwrap().iter().map(|client| client.local_addr().unwrap()).collect();
            accepted.sort();
            clients.sort();
            assert_eq!(accepted[..], clients);
        });
    });
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let (mut stream, mut peer) = connected(&host).await;
            stream.write_all(b"question").await.unwrap();
            stream.shutdown().await.unwrap();
            let peer = beside(move || {
                let mut question = String::new();
                peer.read_to_string(&mut question).unwrap();
                peer.write_all(b"answer to ").unwrap();
                peer.write_all(question.as_bytes()).unwrap();
            });
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "answer to question");
            let closed = stream.write(b"x").await.unwrap_err();
            assert_eq!(closed.kind(), ErrorKind::BrokenPipe);
            peer.join().unwrap();
        });
    });
}

#[test]
fn a_reset_by_the_peer_ends_reads_and_writes() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let (mut stream, peer) = connected(&host).await;
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
            let read = stream.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(read.raw_os_error(), Some(libc::ECONNRESET));
            let written = stream.write(b"x").await.unwrap_err();
            assert_eq!(written.kind(), ErrorKind::ConnectionReset);
            let taken = stream.take_error().unwrap().unwrap();
            assert_eq!(taken.kind(), ErrorKind::ConnectionReset);
        });
    });
}

#[test]
fn dropping_delivers_unless_told_otherwise() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let end = |mut peer: std::net::TcpStream| {
                let mut all = Vec::new();
                peer.read_to_end(&mut all).map(|_| all)
            };

            let (mut stream, peer) = connected(&host).await;
            stream.write_all(b"last words").await.unwrap();
            drop(stream);
            assert_eq!(end(peer).unwrap(), b"last words");

            let (stream, peer) = connected(&host).await;
            stream.set_zero_linger().unwrap();
            assert_eq!(stream.linger().unwrap(), Some(Duration::ZERO));
            drop(stream);
            assert_eq!(end(peer).unwrap_err().kind(), ErrorKind::ConnectionReset);

            let (stream, peer) = connected(&host).await;
            stream.abort().unwrap();
            assert_eq!(end(peer).unwrap_err().kind(), ErrorKind::ConnectionReset);

            // Received and not read: RFC 9293 section 3.10.4. To have been peeked at is no reading.
            for peek in [false, true] {
                let (stream, mut peer) = connected(&host).await;
                peer.write_all(b"unread").unwrap();
                stream.readable().await.unwrap();
                if peek {
                    stream.peek(&mut [0; 16]).await.unwrap();
                } else {
                    // Readiness alone may be a guess.
                    while stream.try_read(&mut [0; 1]).is_err() {
                        stream.readable().await.unwrap();
                    }
                }
                drop(stream);
                assert_eq!(end(peer).unwrap_err().kind(), ErrorKind::ConnectionReset);
            }
        });
    });
}

#[test]
fn giving_up_a_connect_leaves_nothing_behind() {
    in_namespace(|| {
        let host = host();
        // Packets there are lost: nobody will answer.
        ip("route add blackhole 203.0.113.0/24");
        block_on(async {
            let connecting = MptcpStream::connect(&host, "203.0.113.1:80");
            let given_up = tokio::time::timeout(Duration::from_millis(20), connecting).await;
            assert!(given_up.is_err());
            assert_eq!(host.connections().len(), 0);
        });
    });
}

#[test]
fn readiness_and_the_calls_that_do_not_wait() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let (stream, mut peer) = connected(&host).await;
            let nothing = stream.try_read(&mut [0; 4]).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
            let both = Interest::READABLE | Interest::WRITABLE;
            let ready = stream.ready(both).await.unwrap();
            assert!(ready.is_writable() && !ready.is_readable());
            poll_fn(|cx| {
                assert!(stream.poll_read_ready(cx).is_pending());
                stream.poll_write_ready(cx)
            })
            .await
            .unwrap();

            peer.write_all(b"abcdefgh").unwrap();
            // Two tasks may wait at once.
            let (one, two) = tokio::join!(stream.readable(), stream.readable());
            one.and(two).unwrap();
            let mut peeked = [0; 2];
            assert_eq!(stream.peek(&mut peeked).await.unwrap(), 2);
            assert_eq!(&peeked, b"ab");
            let (mut first, mut second) = ([0; 3], [0; 2]);
            let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let mut read = stream.try_read_vectored(&mut slices).unwrap();
            assert_eq!(&first[..2], b"ab");
            let mut rest = BytesMut::new();
            while read < 8 {
                match stream.try_read_buf(&mut rest) {
                    Ok(more) => read += more,
                    Err(_) => stream.readable().await.unwrap(),
                }
            }
            assert_eq!(read, 8);

            let slices = [IoSlice::new(b"he"), IoSlice::new(b""), IoSlice::new(b"llo")];
            assert_eq!(stream.try_write_vectored(&slices).unwrap(), 5);
            let mut hello = [0; 5];
            peer.read_exact(&mut hello).unwrap();
            assert_eq!(&hello, b"hello");

            // Until there is no room, here and in the kernel, which takes its time: then nothing
            // is ready until the peer reads.
            let block = vec![0; 1 << 20];
            let mut written = 0;
            let moment = Duration::from_millis(100);
            while let Ok(room) = tokio::time::timeout(moment, stream.writable()).await {
                room.unwrap();
                while let Ok(more) = stream.try_write(&block) {
                    written += more;
                }
            }
            poll_fn(|cx| {
                assert!(stream.poll_write_ready(cx).is_pending());
                Poll::Ready(())
            })
            .await;
            let reader = beside(move || {
                let mut left = written;
                let mut buf = vec![0; 1 << 20];
                while left > 0 {
                    left -= peer.read(&mut buf).unwrap();
                }
                peer
            });
            stream.writable().await.unwrap();
            reader.join().unwrap();
        });
    });
}

#[test]
fn halves_work_apart_and_come_together() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let (mut stream, mut peer) = connected(&host).await;
            let (mut read, mut write) = stream.split();
            peer.write_all(b"ping").unwrap();
            let mut ping = [0; 4];
            read.read_exact(&mut ping).await.unwrap();
            write.write_all(&ping).await.unwrap();
            peer.read_exact(&mut ping).unwrap();

            let (other, _other_peer) = connected(&host).await;
            let (read, write) = stream.into_split();
            let (other_read, other_write) = other.into_split();
            let error = read.reunite(other_write).unwrap_err();
            let stream = error.0.reunite(write).unwrap();
            let other = other_read.reunite(error.1).unwrap();
            // None of this has closed anything.
            for stream in [&stream, &other] {
                assert_eq!(stream.try_read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
            }

            // Dropping the write half does close its direction.
            let (mut read, write) = stream.into_split();
            drop(write);
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
            peer.write_all(b"still").unwrap();
            let mut still = [0; 5];
            read.read_exact(&mut still).await.unwrap();
        });
    });
}

#[test]
fn addresses_come_and_go_while_the_host_runs() {
    in_namespace(|| {
        let host = Host::builder().tun("pp3").start().unwrap();
        let addr = HOST_V4.parse().unwrap();
        block_on(async {
            let listener = kernel_listener(false, false);
            let remote = listener.local_addr().unwrap();
            let nowhere = MptcpStream::connect(&host, remote).await.unwrap_err();
            assert_eq!(nowhere.kind(), ErrorKind::NetworkUnreachable);
            host.add_address(addr, Some("late"), false).unwrap();
            let stream = MptcpStream::connect(&host, remote).await.unwrap();
            drop(stream);
            host.remove_address(addr).unwrap();
            MptcpStream::connect(&host, remote).await.unwrap_err();
            host.remove_address(addr).unwrap_err();
            assert!(!ip("route").contains(HOST_V4));
        });
    });
}

#[test]
fn the_host_ends_with_its_last_user_and_takes_the_device_along() {
    in_namespace(|| {
        let host = host();
        let name = host.tun_name().to_owned();
        block_on(async {
            let (mut stream, mut peer) = connected(&host).await;
            // A stream is enough to keep it going.
            drop(host);
            peer.write_all(b"x").unwrap();
            stream.read_exact(&mut [0; 1]).await.unwrap();
        });
        wait_until_gone(&name);
    });
}

#[test]
fn a_device_that_fails_ends_the_host_with_an_error() {
    in_namespace(|| {
        let host = host();
        block_on(async {
            let (mut stream, _peer) = connected(&host).await;
            let listener = MptcpListener::bind(&host, host_addr(0)).await.unwrap();
            let mut byte = [0; 1];
            let reading = stream.read(&mut byte);
            let accepting = listener.accept();
            ip(&format!("link del {}", host.tun_name()));
            let (read, accepted) = tokio::join!(reading, accepting);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::NetworkDown);
            let error = accepted.unwrap_err();
            assert!(error.to_string().contains(host.tun_name()), "{error}");
            let error = MptcpStream::connect(&host, "10.0.0.1:1").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NetworkDown);
        });
    });
}

#[test]
fn settings_out_of_range_are_refused() {
    in_namespace(|| {
        let v4 = Host::builder().address(HOST_V4.parse().unwrap(), None, false);
        let v6 = Host::builder().address(HOST_V6.parse().unwrap(), None, false);
        for (builder, mtu) in [(v4.clone(), 575), (v4, 65_536), (v6, 1279)] {
            let error = builder.mtu(mtu).start().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&mtu.to_string()), "{error}");
        }
        let error = Host::builder().tun("sixteen-bytes-xx").start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}
