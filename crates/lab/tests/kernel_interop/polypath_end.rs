//! Polypath's host and application.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use polypath_lab::payload::Hasher;
use polypath_net::{Capture, Host, MptcpListener, MptcpStream, OwnedReadHalf, OwnedWriteHalf};
use polypath_proto::{Config, SynCookies};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cell::{Backup, CFlag, Cell, Checksum, Cookies, Ending, Fallback, Joins};
use crate::network::{self, PORT};
use crate::script::{self, KERNEL_SEED, PATIENCE, Progress, Script, Signals, Step};

/// Starts a host with the addresses of its end, in the calling thread's namespace, and writes its packets to `file`.
pub(crate) fn start(cell: &Cell, file: &Path) -> io::Result<(Host, Capture)> {
    let serves = cell.polypath_serves();
    let config = Config {
        multipath: cell.fallback != Fallback::PolypathPlain,
        dss_checksum: cell.checksum == Checksum::Polypath,
        allow_join_initial: !(serves && cell.c_flag == CFlag::Yes),
        announce_port: (serves && cell.joins == Joins::AnnouncedPort).then_some(network::OTHER_PORT),
        syn_cookies: if cell.cookies == Cookies::Yes { SynCookies::Always } else { SynCookies::default() },
        ..Config::default()
    };
    let own = |number| if serves { network::server(cell, number) } else { network::client(cell, number) };
    let mut host = Host::builder().tun("pp0").config(config).address(own(0), Some("first"), false);
    let has_second = if serves { cell.announces() } else { cell.client_has_two() };
    if has_second {
        let backup = cell.backup == Backup::Yes && cell.client_owns_backup() != serves;
        host = host.address(own(1), Some("second"), backup);
    }
    let host = host.start()?;
    let capture = Capture::start(&host, file)?;
    Ok((host, capture))
}

/// Listens, if polypath is the server.
pub(crate) async fn listen(cell: &Cell, host: &Host) -> io::Result<Option<MptcpListener>> {
    match cell.polypath_serves() {
        true => MptcpListener::bind(host, (std::net::Ipv6Addr::UNSPECIFIED, PORT)).await.map(Some),
        false => Ok(None),
    }
}

/// Accepts or connects.
pub(crate) async fn open(cell: &Cell, host: &Host, listener: Option<&MptcpListener>) -> io::Result<MptcpStream> {
    let opening = async {
        match listener {
            Some(listener) => Ok(listener.accept().await?.0),
            None => {
                let local = SocketAddr::new(network::client(cell, 0), 0);
                MptcpStream::connect_from(host, local, network::connect_to(cell)).await
            }
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Plays polypath's part of a cell.
pub(crate) async fn run(cell: &Cell, stream: MptcpStream, signals: &Signals) -> Result<(), String> {
    let said = |error: io::Error| format!("polypath's application: {error}");
    let script = Script::new(cell, true);
    let (mut rx, mut tx) = stream.into_split();
    let receiving = tokio::time::timeout(PATIENCE * 3, receive(cell, &mut rx, signals));
    let (sent, received) = tokio::join!(send(cell, &mut tx, &script, signals), receiving);
    let hasher = received.map_err(|_| "polypath's application read no end")?.map_err(said)?;
    sent?;
    script::check_content(cell, hasher, KERNEL_SEED, "polypath's application")?;
    match cell.ending {
        Ending::PolypathAborts => {
            signals.both_read(script::bytes(cell)).await?;
            rx.as_ref().abort().map_err(said)
        }
        Ending::KernelAborts => {
            signals.both_read(script::bytes(cell)).await?;
            tx.write_all(b"!").await.map_err(said)?;
            let seen = tokio::time::timeout(PATIENCE, rx.read(&mut [0])).await;
            // An MPTCP socket that has fallen back has no MP_FASTCLOSE, and Linux sends no reset either. A server's
            // that was never asked for MPTCP is a TCP socket.
            let fallen_back = matches!(cell.fallback, Fallback::PolypathPlain | Fallback::Stripped);
            match seen {
                Ok(Ok(0)) if fallen_back && cell.polypath_serves() => Ok(()),
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
                other => Err(format!("polypath's application saw {other:?}, not a reset")),
            }
        }
        _ => Ok(()),
    }
}

async fn send(cell: &Cell, tx: &mut OwnedWriteHalf, script: &Script, signals: &Signals) -> Result<(), String> {
    let said = |error: io::Error| format!("polypath's application, sending: {error}");
    for step in &script.steps {
        match step {
            Step::Write(part) => {
                for piece in script::pieces(cell, &script.payload[part.clone()]) {
                    tx.write_all(&piece).await.map_err(said)?;
                }
            }
            Step::Wait(stage) => signals.reached(*stage).await?,
            Step::WaitForEnd => script::wait(&signals.polypath, |p| p.ended, "the end").await?,
            Step::Shutdown => tx.shutdown().await.map_err(said)?,
        }
    }
    Ok(())
}

/// Reads to the end; or to the last byte, where no end comes.
async fn receive(cell: &Cell, rx: &mut OwnedReadHalf, signals: &Signals) -> io::Result<Hasher> {
    let (mut hasher, mut buf) = (Hasher::default(), vec![0; 64 * 1024]);
    let limit = if script::aborts(cell) { script::bytes(cell) } else { u64::MAX };
    while hasher.len() < limit {
        let room = usize::try_from(limit - hasher.len()).unwrap_or(buf.len()).min(buf.len());
        let n = rx.read(&mut buf[..room]).await?;
        hasher.update(&buf[..n]);
        signals.polypath.send_replace(Progress { read: hasher.len(), ended: n == 0 });
        if n == 0 {
            break;
        }
    }
    Ok(hasher)
}
