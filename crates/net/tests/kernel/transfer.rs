//! Bulk data between a host of ours and the kernel, every byte checked, in super-packets.

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use polypath_net::{Host, MptcpListener, MptcpStream};
use polypath_proto::MultipathState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::namespace::{in_namespace, ip, run};
use crate::peer::{
    Checker, HOST_V4, HOST_V6, beside, block_on, host, kernel_listener, kernel_stream, pattern, receive_pattern,
    send_pattern,
};

/// Enough for windows to open and for both sides to send super-packets.
const LEN: usize = 48 << 20;

fn listen_addr(v6: bool) -> SocketAddr {
    let ip = if v6 { HOST_V6 } else { HOST_V4 };
    SocketAddr::new(ip.parse().unwrap(), 0)
}

/// That packets longer than the MTU went through the device whole, and none was refused.
fn assert_super_packets_written(host: &Host) {
    let stats = host.device_stats();
    assert!(stats.super_packets_written > 0, "{stats:?}");
    assert!(stats.bytes_written / stats.packets_written > 1500, "{stats:?}");
    assert_eq!(stats.write_errors, 0, "{stats:?}");
}

fn assert_super_packets_read(host: &Host) {
    let stats = host.device_stats();
    assert!(stats.super_packets_read > 0, "{stats:?}");
    assert!(stats.bytes_read / stats.packets_read > 1500, "{stats:?}");
}

/// Our stream to a kernel listener.
fn upload(v6: bool, multipath: bool) {
    in_namespace(move || {
        let host = host();
        let listener = kernel_listener(v6, multipath);
        let addr = listener.local_addr().unwrap();
        let server = beside(move || receive_pattern(&mut listener.accept().unwrap().0));
        block_on(async {
            let mut stream = MptcpStream::connect(&host, addr).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), addr);
            let chunk = 1 << 20;
            for position in (0..LEN).step_by(chunk) {
                stream.write_all(&pattern(position, chunk)).await.unwrap();
            }
            assert_eq!(stream.info().unwrap().multipath == MultipathState::Active, multipath);
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        });
        assert_eq!(server.join().unwrap(), LEN);
        assert_super_packets_written(&host);
    });
}

/// A kernel client to our listener.
fn download(v6: bool, multipath: bool) {
    in_namespace(move || {
        let host = host();
        block_on(async {
            let listener = MptcpListener::bind(&host, listen_addr(v6)).await.unwrap();
            let addr = listener.local_addr().unwrap();
            let client = beside(move || {
                let mut stream = kernel_stream(addr, multipath).unwrap();
                send_pattern(&mut stream, LEN);
                stream.shutdown(Shutdown::Write).unwrap();
                stream.local_addr().unwrap()
            });
            let (mut stream, peer) = listener.accept().await.unwrap();
            let mut checker = Checker::default();
            let mut buf = vec![0; 256 * 1024];
            loop {
                match stream.read(&mut buf).await.unwrap() {
                    0 => break,
                    len => checker.check(&buf[..len]),
                }
            }
            assert_eq!(checker.received, LEN);
            assert_eq!(stream.info().unwrap().multipath == MultipathState::Active, multipath);
            assert_eq!(client.join().unwrap(), peer);
        });
        assert_super_packets_read(&host);
    });
}

#[test]
fn uploads_to_a_plain_tcp_listener_of_the_kernel() {
    upload(false, false);
    upload(true, false);
}

#[test]
fn uploads_to_a_multipath_listener_of_the_kernel() {
    upload(false, true);
    upload(true, true);
}

#[test]
fn downloads_from_a_plain_tcp_client_of_the_kernel() {
    download(false, false);
    download(true, false);
}

#[test]
fn downloads_from_a_multipath_client_of_the_kernel() {
    download(false, true);
    download(true, true);
}

#[test]
fn both_directions_at_once_without_copies() {
    in_namespace(|| {
        let host = host();
        let listener = kernel_listener(false, false);
        let addr = listener.local_addr().unwrap();
        let server = beside(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut sending = stream.try_clone().unwrap();
            let sender = beside(move || {
                send_pattern(&mut sending, LEN);
                sending.shutdown(Shutdown::Write).unwrap();
            });
            let received = receive_pattern(&mut stream);
            sender.join().unwrap();
            received
        });
        block_on(async {
            let stream = MptcpStream::connect(&host, addr).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let writing = async {
                let mut data = Bytes::from(pattern(0, LEN));
                while !data.is_empty() {
                    write.write_bytes(&mut data).await.unwrap();
                }
                write.shutdown().await.unwrap();
            };
            let reading = async {
                let mut checker = Checker::default();
                let mut longest = 0;
                loop {
                    let bytes = read.read_bytes(usize::MAX).await.unwrap();
                    if bytes.is_empty() {
                        break;
                    }
                    longest = longest.max(bytes.len());
                    checker.check(&bytes);
                }
                assert!(longest > 1500, "pieces of up to {longest} bytes");
                checker.received
            };
            let ((), received) = tokio::join!(writing, reading);
            assert_eq!(received, LEN);
        });
        assert_eq!(server.join().unwrap(), LEN);
        assert_super_packets_written(&host);
        assert_super_packets_read(&host);
    });
}

#[test]
fn without_offloads_every_packet_is_one_of_the_wire() {
    in_namespace(|| {
        let host = Host::builder().offload(false).address(HOST_V4.parse().unwrap(), None, false).start().unwrap();
        let listener = kernel_listener(false, true);
        let addr = listener.local_addr().unwrap();
        let server = beside(move || {
            let (mut stream, _) = listener.accept().unwrap();
            send_pattern(&mut stream, LEN / 8);
            stream.shutdown(Shutdown::Write).unwrap();
            receive_pattern(&mut stream)
        });
        block_on(async {
            let mut stream = MptcpStream::connect(&host, addr).await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            assert!(all == pattern(0, LEN / 8));
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        });
        assert_eq!(server.join().unwrap(), LEN / 8);
        let stats = host.device_stats();
        assert_eq!((stats.super_packets_read, stats.super_packets_written), (0, 0), "{stats:?}");
        // Checksums are made and verified in full on this way: one wrong, and nothing would have arrived.
        assert_eq!(host.mib().get(polypath_proto::mib::Counter::TcpInCsumErrors), 0);
    });
}

#[test]
fn many_connections_between_two_hosts_on_several_threads() {
    in_namespace(|| {
        run("sysctl", "-qw net.ipv4.ip_forward=1");
        let host = |number| {
            let addr = |path| format!("10.{path}.0.{number}").parse().unwrap();
            Host::builder().address(addr(1), None, false).address(addr(2), None, false).start().unwrap()
        };
        let (client, server) = (host(1), host(2));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let echo = async |stream: MptcpStream| {
            let (mut read, mut write) = stream.into_split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        };
        let all = async move {
            let listener = MptcpListener::bind(&server, "10.1.0.2:7").await.unwrap();
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(echo(stream));
                }
            });
            let mut asking = tokio::task::JoinSet::new();
            for number in 0..50 {
                let client = client.clone();
                asking.spawn(async move {
                    let stream = MptcpStream::connect(&client, "10.1.0.2:7").await.unwrap();
                    let (mut read, mut write) = stream.into_split();
                    let sent = pattern(number * 7, 300_000);
                    let data = sent.clone();
                    let writing = tokio::spawn(async move {
                        // In sizes on either side of where copying changes its way.
                        for piece in data.chunks(9_000 + 1_000 * number) {
                            write.write_all(piece).await.unwrap();
                        }
                    });
                    let mut got = Vec::new();
                    read.read_to_end(&mut got).await.unwrap();
                    writing.await.unwrap();
                    assert!(got == sent, "connection {number}: {} bytes came back", got.len());
                });
            }
            let done = async { while asking.join_next().await.transpose().unwrap().is_some() {} };
            tokio::time::timeout(Duration::from_secs(60), done).await.expect("the test hangs");
        };
        runtime.block_on(all);
    });
}

#[test]
fn a_stack_held_back_by_a_full_device_loses_nothing() {
    in_namespace(|| {
        // Two hosts joined by redirection, which leaves packets charged to the sender's device
        // while they wait for a slow link.
        let one = Host::builder()
            .tun("one")
            .send_buffer(200_000)
            .address("10.1.0.1".parse().unwrap(), None, false)
            .start()
            .unwrap();
        let two = Host::builder().tun("two").address("10.1.0.2".parse().unwrap(), None, false).start().unwrap();
        let tc = |arguments: &str| run("tc", arguments);
        tc("qdisc add dev two root tbf rate 400mbit burst 200000 limit 90000000");
        for (from, to) in [("one", "two"), ("two", "one")] {
            tc(&format!("qdisc add dev {from} ingress"));
            tc(&format!(
                "filter add dev {from} parent ffff: protocol ip u32 match u32 0 0 \
                 action mirred egress redirect dev {to}"
            ));
        }
        let len = 16 << 20;
        block_on(async {
            let listener = MptcpListener::bind(&two, "10.1.0.2:80").await.unwrap();
            let mut client = MptcpStream::connect(&one, "10.1.0.2:80").await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            let data = pattern(0, len);
            let sending = async {
                client.write_all(&data).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let receiving = async {
                let mut all = Vec::new();
                server.read_to_end(&mut all).await.unwrap();
                assert!(all == data, "{} bytes of {len}", all.len());
            };
            tokio::join!(sending, receiving);
        });
        let stats = one.device_stats();
        assert!(stats.device_full > 0, "{stats:?}");
        assert_eq!(stats.write_errors, 0, "{stats:?}");
        assert_eq!(drops("one") + drops("two"), 0);
    });
}

/// Packets that the kernel dropped on an interface, in either direction.
fn drops(interface: &str) -> u64 {
    let counters = ip(&format!("-s -o link show {interface}"));
    let mut numbers = counters
        .split('\\')
        .skip_while(|line| !line.contains("RX:"))
        .filter(|line| !line.contains(':'))
        .filter_map(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    let rx = numbers.next().expect("RX counters");
    rx + numbers.next().unwrap_or(0)
}
