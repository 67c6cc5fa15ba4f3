//! Several paths between a host of ours and the kernel's Multipath TCP: joins, events, addresses
//! that go.

use std::io::Write;
use std::net::{IpAddr, Shutdown};

use polypath_net::{Host, MptcpListener, MptcpStream};
use polypath_proto::{Event, MultipathState, SubflowEvent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::broadcast::Receiver;

use crate::namespace::{in_namespace, ip, run};
use crate::peer::{Checker, beside, block_on, kernel_listener, kernel_stream, pattern, receive_pattern, send_pattern};

const WIFI: &str = "10.1.0.2";
const LTE: &str = "10.2.0.2";
const LEN: usize = 16 << 20;

fn host_with_two_paths() -> Host {
    Host::builder()
        .address(WIFI.parse().unwrap(), Some("wifi"), false)
        .address(LTE.parse().unwrap(), Some("lte"), false)
        .start()
        .unwrap()
}

/// Waits for something to happen to the subflow of a named path.
async fn wait_for(events: &mut Receiver<Event>, path: &str, wanted: fn(&SubflowEvent) -> bool) {
    loop {
        if let Event::Subflow { name: Some(name), what, .. } = events.recv().await.unwrap()
            && *name == *path
            && wanted(&what)
        {
            return;
        }
    }
}

fn is_established(what: &SubflowEvent) -> bool {
    matches!(what, SubflowEvent::Established)
}

/// The kernel's Multipath TCP counters that are not zero.
fn mib() -> Vec<(String, u64)> {
    run("nstat", "-as")
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.strip_prefix("MPTcpExt")?;
            Some((name.to_owned(), words.next()?.parse().ok()?))
        })
        .collect()
}

/// That the kernel found nothing wrong with our packets, and took part in `joins`.
fn assert_kernel_content(joined: &str) {
    let mib = mib();
    let bad = mib.iter().filter(|(name, _)| {
        ["Fallback", "Failure", "NotMatching", "NoMatch", "Corruption", "CsumErr", "MPRst", "MPFail"]
            .iter()
            .any(|part| name.contains(part))
    });
    assert_eq!(bad.count(), 0, "the kernel complains: {mib:?}");
    let joins = mib.iter().find(|(name, _)| name == joined);
    assert_eq!(joins.map(|(_, count)| *count), Some(1), "{joined} in {mib:?}");
}

#[test]
fn a_client_of_ours_joins_its_second_path() {
    in_namespace(|| {
        let host = host_with_two_paths();
        let mut events = host.events();
        let listener = kernel_listener(false, true);
        let addr = listener.local_addr().unwrap();
        let server = beside(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let received = receive_pattern(&mut stream);
            send_pattern(&mut stream, LEN);
            // The listener stays: the kernel refuses joins without it.
            (received, listener)
        });
        block_on(async {
            let mut stream = MptcpStream::connect(&host, addr).await.unwrap();
            // RFC 8684 section 3.1: no join before the first data has been acknowledged.
            stream.write_all(&pattern(0, 1000)).await.unwrap();
            wait_for(&mut events, "wifi", is_established).await;
            wait_for(&mut events, "lte", is_established).await;
            stream.write_all(&pattern(1000, LEN - 1000)).await.unwrap();
            let info = stream.info().unwrap();
            assert_eq!(info.multipath, MultipathState::Active);
            assert_eq!(info.subflows.len(), 2);
            stream.shutdown().await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            assert!(all == pattern(0, LEN));
        });
        assert_eq!(server.join().unwrap().0, LEN);
        assert_kernel_content("MPJoinAckRx");
    });
}

#[test]
fn a_client_of_the_kernel_joins_the_address_we_announce() {
    in_namespace(|| {
        ip("mptcp limits set subflow 2 add_addr_accepted 2");
        let host = host_with_two_paths();
        let mut events = host.events();
        block_on(async {
            let listener = MptcpListener::bind(&host, (WIFI, 0)).await.unwrap();
            let addr = listener.local_addr().unwrap();
            let client = beside(move || {
                let mut stream = kernel_stream(addr, true).unwrap();
                send_pattern(&mut stream, LEN);
                stream.shutdown(Shutdown::Write).unwrap();
                receive_pattern(&mut stream)
            });
            let (mut stream, _) = listener.accept().await.unwrap();
            wait_for(&mut events, "lte", is_established).await;
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            assert!(all == pattern(0, LEN));
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(client.join().unwrap(), LEN);
        });
        assert_kernel_content("MPJoinSynAckRx");
    });
}

#[test]
fn a_transfer_outlives_the_address_it_began_on() {
    in_namespace(|| {
        let host = host_with_two_paths();
        let mut events = host.events();
        let listener = kernel_listener(false, true);
        let addr = listener.local_addr().unwrap();
        let (go_on, wait) = std::sync::mpsc::channel();
        let server = beside(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&pattern(0, LEN / 2)).unwrap();
            wait.recv().unwrap();
            stream.write_all(&pattern(LEN / 2, LEN / 2)).unwrap();
            listener
        });
        block_on(async {
            let mut stream = MptcpStream::connect(&host, addr).await.unwrap();
            wait_for(&mut events, "lte", is_established).await;
            let wifi: IpAddr = WIFI.parse().unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), wifi);
            let mut checker = Checker::default();
            let mut buf = vec![0; LEN / 4];
            stream.read_exact(&mut buf).await.unwrap();
            checker.check(&buf);
            host.remove_address(wifi).unwrap();
            wait_for(&mut events, "wifi", |what| matches!(what, SubflowEvent::Closed(_))).await;
            go_on.send(()).unwrap();
            loop {
                match stream.read(&mut buf).await.unwrap() {
                    0 => break,
                    len => checker.check(&buf[..len]),
                }
            }
            assert_eq!(checker.received, LEN);
            assert_eq!(stream.info().unwrap().multipath, MultipathState::Active);
        });
        server.join().unwrap();
    });
}
