//! A host that lives in the application's runtime.

use std::io::ErrorKind;
use std::time::Duration;

use polypath_net::{Host, MptcpListener, MptcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::namespace::{in_namespace, wait_until_gone};
use crate::peer::{Checker, HOST_V4, beside, block_on, kernel_listener, pattern, receive_pattern};

const LEN: usize = 8 << 20;

fn start() -> std::io::Result<Host> {
    Host::builder().address(HOST_V4.parse().unwrap(), None, false).in_runtime(true).start()
}

#[test]
fn it_carries_data_keeps_time_and_goes_with_its_device() {
    in_namespace(|| {
        let listener = kernel_listener(false, true);
        let addr = listener.local_addr().unwrap();
        let server = beside(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let received = receive_pattern(&mut stream);
            crate::peer::send_pattern(&mut stream, LEN);
            received
        });
        block_on(async {
            let host = start().unwrap();
            let mut stream = MptcpStream::connect(&host, addr).await.unwrap();
            stream.write_all(&pattern(0, LEN)).await.unwrap();
            stream.shutdown().await.unwrap();
            let (mut checker, mut buf) = (Checker::default(), vec![0; 1 << 18]);
            while checker.received < LEN {
                let len = stream.read(&mut buf).await.unwrap();
                assert!(len > 0, "ended after {} bytes", checker.received);
                checker.check(&buf[..len]);
            }
            // A timer of the stack's: nobody answers there, and the SYN is given up.
            let options = polypath_proto::ConnectOptions {
                user_timeout: Some(Duration::from_millis(300)),
                ..polypath_proto::ConnectOptions::default()
            };
            let nowhere = "10.1.0.77:9".parse().unwrap();
            let error = MptcpStream::connect_with(&host, nowhere, options).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::HostUnreachable), "{error}");
            let name = host.tun_name().to_owned();
            drop(stream);
            host.shutdown(Duration::from_secs(30)).await.unwrap();
            wait_until_gone(&name);
        });
        assert_eq!(server.join().unwrap(), LEN);
    });
}

#[test]
fn it_ends_with_its_runtime_and_is_not_started_without_one() {
    in_namespace(|| {
        assert!(start().unwrap_err().to_string().contains("runtime"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (host, listener) = runtime.block_on(async {
            let host = start().unwrap();
            let listener = MptcpListener::bind(&host, (HOST_V4, 80)).await.unwrap();
            (host, listener)
        });
        let name = host.tun_name().to_owned();
        drop(runtime);
        wait_until_gone(&name);
        // Whoever still waits is told.
        let error = block_on(listener.accept()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkDown);
        drop(host);
    });
}
