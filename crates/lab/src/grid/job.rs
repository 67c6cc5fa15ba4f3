//! What the applications at both ends do, over whatever stream they have.

use std::convert::Infallible;
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use polypath_sim::grid::scenario::Load;
use polypath_sim::grid::series::Series;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout_at;

use crate::payload::Payload;

/// Bytes of one write.
const WRITE: usize = 64 * 1024;
/// Bytes of one read, at most.
const READ: usize = 256 * 1024;
/// What answers contain differs from what requests do.
const ANSWERS: u64 = 1 << 32;

/// One end's part.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Job {
    /// Sends the payload without end.
    Send,
    /// Takes it.
    Receive,
    /// Sends so many requests, each when the one before is answered.
    Request { count: u32, request: usize, answer: usize },
    /// Answers them, to the end of the stream.
    Answer { request: usize, answer: usize },
}

impl Job {
    /// Those of the client and of the server for a load.
    pub(super) fn pair(load: Load) -> (Self, Self) {
        match load {
            Load::Upload(_) => (Self::Send, Self::Receive),
            Load::Download(_) => (Self::Receive, Self::Send),
            Load::Requests { count, request, answer } => {
                let (request, answer) = (request as usize, answer as usize);
                (Self::Request { count, request, answer }, Self::Answer { request, answer })
            }
        }
    }
}

/// What an end has seen; times are since the start.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    /// Bulk data, as it was read.
    pub(crate) arrivals: Series,
    /// Bytes that were read in all.
    pub(crate) bytes: u64,
    /// How long each answer took, from the beginning of its request to its last byte.
    pub(crate) answers: Vec<Duration>,
    /// Some byte was not the one that was sent.
    pub(crate) corrupt: bool,
}

/// Plays a part. Bulk ends at `until`, and so does whoever waits for answers in vain.
pub(crate) async fn play(
    job: Job,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    seed: u64,
    start: Instant,
    until: Instant,
) -> io::Result<Seen> {
    let mut seen = Seen::default();
    let playing = async {
        match job {
            Job::Send => send(stream, seed).await.map(|never| match never {}),
            Job::Receive => receive(stream, seed, start, &mut seen).await,
            Job::Request { count, request, answer } => {
                ask(stream, seed, (count, request, answer), &mut seen).await?;
                stream.shutdown().await
            }
            Job::Answer { request, answer } => respond(stream, seed, (request, answer), &mut seen).await,
        }
    };
    match timeout_at(until.into(), playing).await {
        Ok(result) => result?,
        Err(_) if matches!(job, Job::Request { .. }) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "answers did not come in time"));
        }
        Err(_) => {}
    }
    Ok(seen)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), seed: u64) -> io::Result<Infallible> {
    let (mut payload, mut piece) = (Payload::new(seed), vec![0; WRITE]);
    loop {
        payload.read_exact(&mut piece)?;
        stream.write_all(&piece).await?;
    }
}

async fn receive(stream: &mut (impl AsyncRead + Unpin), seed: u64, start: Instant, seen: &mut Seen) -> io::Result<()> {
    let (mut payload, mut buf) = (Payload::new(seed), vec![0; READ]);
    loop {
        let len = stream.read(&mut buf).await?;
        if len == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the sender ended"));
        }
        seen.bytes += len as u64;
        seen.arrivals.push(start.elapsed(), len as u64);
        seen.corrupt |= !payload.continues_with(&buf[..len]);
    }
}

async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    seed: u64,
    (count, request, answer): (u32, usize, usize),
    seen: &mut Seen,
) -> io::Result<()> {
    let (mut requests, mut answers) = (Payload::new(seed), Payload::new(seed + ANSWERS));
    let (mut request, mut answer) = (vec![0; request], vec![0; answer]);
    for _ in 0..count {
        requests.read_exact(&mut request)?;
        let asked = Instant::now();
        stream.write_all(&request).await?;
        stream.read_exact(&mut answer).await?;
        seen.answers.push(asked.elapsed());
        seen.bytes += answer.len() as u64;
        seen.corrupt |= !answers.continues_with(&answer);
    }
    Ok(())
}

async fn respond(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    seed: u64,
    (request, answer): (usize, usize),
    seen: &mut Seen,
) -> io::Result<()> {
    let (mut requests, mut answers) = (Payload::new(seed), Payload::new(seed + ANSWERS));
    let (mut request, mut answer) = (vec![0; request], vec![0; answer]);
    loop {
        match stream.read_exact(&mut request).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        };
        seen.bytes += request.len() as u64;
        seen.corrupt |= !requests.continues_with(&request);
        answers.read_exact(&mut answer)?;
        stream.write_all(&answer).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends over a pipe, with a seed each, for 50 ms or until all is answered.
    fn both((client, server): (Job, Job), seeds: (u64, u64)) -> (io::Result<Seen>, io::Result<Seen>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let start = Instant::now();
        let bulk = matches!(client, Job::Send);
        let until = start + if bulk { Duration::from_millis(50) } else { Duration::from_secs(60) };
        runtime.block_on(async {
            let (mut a, mut b) = tokio::io::duplex(10_000);
            let client = play(client, &mut a, seeds.0, start, until);
            let server = play(server, &mut b, seeds.1, start, until);
            tokio::join!(client, server)
        })
    }

    fn requests(count: u32) -> (Job, Job) {
        (Job::Request { count, request: 1_000, answer: 20_000 }, Job::Answer { request: 1_000, answer: 20_000 })
    }

    #[test]
    fn bulk_is_taken_as_it_comes_and_a_wrong_byte_is_seen() {
        let (_, received) = both((Job::Send, Job::Receive), (5, 5));
        let received = received.unwrap();
        assert!(received.bytes > 0 && !received.corrupt);
        assert_eq!(received.arrivals.bytes(Duration::ZERO, Duration::MAX), received.bytes);
        assert!(both((Job::Send, Job::Receive), (5, 6)).1.unwrap().corrupt);
    }

    #[test]
    fn every_request_is_answered_and_a_wrong_answer_is_seen() {
        let (asked, answered) = both(requests(30), (5, 5));
        let (asked, answered) = (asked.unwrap(), answered.unwrap());
        assert_eq!((asked.answers.len(), asked.bytes, answered.bytes), (30, 30 * 20_000, 30 * 1_000));
        assert!(!asked.corrupt && !answered.corrupt);
        let (asked, answered) = both(requests(30), (5, 6));
        assert!(asked.unwrap().corrupt && answered.unwrap().corrupt);
    }

    #[test]
    fn a_sender_that_ends_is_an_error() {
        let sender = Job::Answer { request: 1, answer: 1 };
        let (_, received) = both((Job::Request { count: 0, request: 1, answer: 1 }, Job::Receive), (1, 1));
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(both((Job::Request { count: 0, request: 1, answer: 1 }, sender), (1, 1)).1.is_ok());
    }
}
