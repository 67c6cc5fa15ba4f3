//! What the applications at both ends do, over whatever streams they have. One thread each, as programs with many
//! connections are written.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::network::{Listener, Network, Stream};
use super::pattern::{LONGEST, Pattern};
use super::tally::Tally;
use super::{Said, say};
use crate::case::{Load, Way};
use crate::network::SERVER;

/// Where servers listen: as many ports as it takes that no run is short of four-tuples, closed connections included.
pub(crate) const PORTS: std::ops::Range<u16> = 5001..5009;
/// Bytes of one write in bulk.
pub(crate) const WRITE: usize = 128 * 1024;
/// Bytes of one read in bulk, at most.
pub(crate) const READ: usize = LONGEST;
/// Bytes each way on a connection that is opened and closed.
const GREETING: usize = 1024;
/// Connections that are opened at the same time.
pub(crate) const AT_ONCE: usize = 32;
/// Answers begin so far from their requests in the pattern.
const ANSWER: u64 = 4_003;

/// What jobs share.
struct Shared {
    pattern: Pattern,
    tally: Arc<Tally>,
}

/// A server, for ever.
pub(super) async fn serve(network: &Network, load: Load, tally: &Arc<Tally>) -> io::Result<()> {
    let shared = Arc::new(Shared { pattern: Pattern::new(), tally: Arc::clone(tally) });
    let mut listening = JoinSet::new();
    for port in PORTS {
        let listener = network.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        listening.spawn(accept(listener, load, Arc::clone(&shared)));
    }
    say(&Said::Ready);
    first_error(listening).await
}

/// A client, for ever.
pub(super) async fn request(network: &Arc<Network>, load: Load, tally: &Arc<Tally>) -> io::Result<()> {
    let shared = Arc::new(Shared { pattern: Pattern::new(), tally: Arc::clone(tally) });
    let mut jobs = JoinSet::new();
    match load {
        Load::Bulk(way) => {
            let stream = network.connect(remote(0)).await?;
            match way {
                Way::Up => jobs.spawn(send(stream, shared)),
                Way::Down => jobs.spawn(receive(stream, shared)),
            };
        }
        Load::Rpc { size, connections } => {
            for number in 0..connections {
                let stream = network.connect(remote(number)).await?;
                jobs.spawn(ask(stream, size, Arc::clone(&shared)));
            }
        }
        Load::Connect => {
            for number in 0..AT_ONCE {
                jobs.spawn(greet(Arc::clone(network), number, Arc::clone(&shared)));
            }
        }
        Load::Idle { connections } => {
            let mut opening = JoinSet::new();
            let next = Arc::new(AtomicUsize::new(0));
            for _ in 0..AT_ONCE {
                let (network, next, shared) = (Arc::clone(network), Arc::clone(&next), Arc::clone(&shared));
                opening.spawn(async move {
                    let mut held = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Relaxed);
                        if number >= connections {
                            return io::Result::Ok(held);
                        }
                        let mut stream = network.connect(remote(number)).await?;
                        // Without data nobody joins: the client has not heard that it may.
                        exchange(&mut stream, &shared).await?;
                        held.push(stream.hold()?);
                        shared.tally.add(1);
                    }
                });
            }
            let mut held = Vec::new();
            while let Some(opened) = opening.join_next().await {
                held.push(joined(opened)?);
            }
            jobs.spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
                Ok(())
            });
        }
    }
    say(&Said::Connected);
    first_error(jobs).await
}

/// Where a connection goes.
fn remote(number: usize) -> SocketAddr {
    SocketAddr::from((SERVER, PORTS.start + (number % PORTS.len()) as u16))
}

async fn first_error(mut jobs: JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(ended) = jobs.join_next().await {
        joined(ended)?;
    }
    Ok(())
}

fn joined<T>(ended: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    ended.unwrap_or_else(|error| Err(io::Error::other(error)))
}

async fn accept(listener: Listener, load: Load, shared: Arc<Shared>) -> io::Result<()> {
    let held = Arc::new(Mutex::new(Vec::new()));
    loop {
        let mut stream = listener.accept().await?;
        let shared = Arc::clone(&shared);
        match load {
            Load::Bulk(Way::Up) => spawn(receive(stream, shared)),
            Load::Bulk(Way::Down) => spawn(send(stream, shared)),
            Load::Rpc { size, .. } => spawn(answer(stream, size, shared)),
            Load::Connect => spawn(part(stream, shared)),
            Load::Idle { .. } => {
                let held = Arc::clone(&held);
                spawn(async move {
                    welcome(&mut stream, &shared).await?;
                    held.lock().unwrap_or_else(PoisonError::into_inner).push(stream.hold()?);
                    shared.tally.add(1);
                    Ok(())
                });
            }
        }
    }
}

/// A job whose failure is told, and ends nothing else.
fn spawn(job: impl Future<Output = io::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = job.await {
            say(&Said::Failed(error.to_string()));
        }
    });
}

async fn send(mut stream: Stream, shared: Arc<Shared>) -> io::Result<()> {
    for at in (0..).step_by(WRITE) {
        if let Stream::Pieces(stream) = &mut stream {
            let mut piece = shared.pattern.piece(at, WRITE);
            while !piece.is_empty() {
                stream.write_bytes(&mut piece).await?;
            }
        } else {
            stream.write_all(shared.pattern.slice(at, WRITE)).await?;
        }
    }
    Ok(())
}

async fn receive(mut stream: Stream, shared: Arc<Shared>) -> io::Result<()> {
    let (mut at, mut buf) = (0, vec![0; READ]);
    loop {
        let piece;
        let bytes = match &mut stream {
            Stream::Pieces(stream) => {
                piece = stream.read_bytes(READ).await?;
                &piece[..]
            }
            stream => {
                let len = stream.read(&mut buf).await?;
                &buf[..len]
            }
        };
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the sender ended"));
        }
        shared.pattern.check(at, bytes)?;
        at += bytes.len() as u64;
        shared.tally.add(bytes.len() as u64);
    }
}

async fn ask(mut stream: Stream, size: usize, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay()?;
    let mut buf = vec![0; size];
    for at in (0..).step_by(size) {
        let asked = Instant::now();
        stream.write_all(shared.pattern.slice(at, size)).await?;
        stream.read_exact(&mut buf).await?;
        shared.tally.answered(asked.elapsed());
        shared.pattern.check(at + ANSWER, &buf)?;
    }
    Ok(())
}

async fn answer(mut stream: Stream, size: usize, shared: Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay()?;
    let mut buf = vec![0; size];
    for at in (0..).step_by(size) {
        stream.read_exact(&mut buf).await?;
        shared.pattern.check(at, &buf)?;
        stream.write_all(shared.pattern.slice(at + ANSWER, size)).await?;
    }
    Ok(())
}

async fn greet(network: Arc<Network>, number: usize, shared: Arc<Shared>) -> io::Result<()> {
    for round in 0.. {
        let mut stream = network.connect(remote(number + round)).await?;
        exchange(&mut stream, &shared).await?;
        drop(stream);
        shared.tally.add(1);
    }
    Ok(())
}

/// The client's side of a greeting.
async fn exchange(stream: &mut Stream, shared: &Shared) -> io::Result<()> {
    let mut buf = [0; GREETING];
    stream.write_all(shared.pattern.slice(0, GREETING)).await?;
    stream.read_exact(&mut buf).await?;
    shared.pattern.check(ANSWER, &buf)
}

/// The server's.
async fn welcome(stream: &mut Stream, shared: &Shared) -> io::Result<()> {
    let mut buf = [0; GREETING];
    stream.read_exact(&mut buf).await?;
    shared.pattern.check(0, &buf)?;
    stream.write_all(shared.pattern.slice(ANSWER, GREETING)).await
}

async fn part(mut stream: Stream, shared: Arc<Shared>) -> io::Result<()> {
    welcome(&mut stream, &shared).await?;
    match stream.read(&mut [0; 1]).await? {
        0 => {
            shared.tally.add(1);
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "more came than was sent")),
    }
}
