//! A file that a thread of its own writes: who holds the stack's lock only hands over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;

/// Bytes that may wait to be written. Beyond it items are left out, and counted: a slow disk does not slow the stack,
/// nor does it fill the memory.
const BACKLOG: usize = 64 << 20;

/// What is done with the items.
pub(crate) trait Sink: Send + 'static {
    type Item: Send;
    fn write(&mut self, item: Self::Item) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

/// The end that waits for the file.
#[derive(Debug)]
pub(crate) struct Spool<T> {
    sender: Sender<Message<T>>,
    dropped: Arc<AtomicU64>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

/// The end that hands over.
#[derive(Debug)]
pub(crate) struct Feed<T> {
    sender: Sender<Message<T>>,
    backlog: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    /// Items left out since the last one that was not.
    missing: u64,
}

enum Message<T> {
    Item { item: T, cost: usize },
    End,
}

impl<T: Send + 'static> Spool<T> {
    /// Starts the thread. Whenever it has caught up, it flushes: whoever looks at the file, or ends the process, finds
    /// it whole.
    pub(crate) fn start(name: &str, sink: impl Sink<Item = T>) -> io::Result<(Spool<T>, Feed<T>)> {
        let (sender, receiver) = mpsc::channel();
        let (backlog, dropped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let (counter, count) = (Arc::clone(&backlog), Arc::clone(&dropped));
        let feed = Feed { sender: sender.clone(), backlog, dropped, missing: 0 };
        let writer =
            std::thread::Builder::new().name(name.to_owned()).spawn(move || write(sink, &receiver, &counter))?;
        Ok((Spool { sender, dropped: count, writer: Some(writer) }, feed))
    }
}

impl<T> Spool<T> {
    /// Waits until everything handed over is in the file; how many items were left out. After the first time there is
    /// nothing to wait for.
    pub(crate) fn finish(&mut self) -> io::Result<u64> {
        if let Some(writer) = self.writer.take() {
            // Fails where the writer has: it will say why.
            let _ = self.sender.send(Message::End);
            writer.join().map_err(|_| io::Error::other("the writing thread panicked"))??;
        }
        Ok(self.dropped.load(Relaxed))
    }
}

impl<T> Feed<T> {
    /// Hands over, unless too much waits already. `item` is told how many were left out just before it.
    pub(crate) fn push(&mut self, cost: usize, item: impl FnOnce(u64) -> T) {
        if self.backlog.load(Relaxed) + cost > BACKLOG {
            self.missing += 1;
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        let item = item(std::mem::take(&mut self.missing));
        self.push_anyway(cost, item);
    }

    /// Hands over what the rest would make no sense without.
    pub(crate) fn push_anyway(&mut self, cost: usize, item: T) {
        self.backlog.fetch_add(cost, Relaxed);
        // Fails where the file could not be written; `finish` tells.
        let _ = self.sender.send(Message::Item { item, cost });
    }
}

/// The writing thread: until the end is announced or writing fails.
fn write<S: Sink>(mut sink: S, messages: &Receiver<Message<S::Item>>, backlog: &AtomicUsize) -> io::Result<()> {
    loop {
        let message = match messages.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => Message::End,
            Err(TryRecvError::Empty) => {
                sink.flush()?;
                messages.recv().unwrap_or(Message::End)
            }
        };
        match message {
            Message::Item { item, cost } => {
                sink.write(item)?;
                backlog.fetch_sub(cost, Relaxed);
            }
            Message::End => return sink.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_backlog_items_are_counted_instead_of_kept() {
        let (sender, receiver) = mpsc::channel();
        let (backlog, dropped) = (Arc::new(AtomicUsize::new(BACKLOG)), Arc::<AtomicU64>::default());
        let mut feed = Feed { sender, backlog: Arc::clone(&backlog), dropped: Arc::clone(&dropped), missing: 0 };
        feed.push(1, |missing| missing);
        feed.push(1, |missing| missing);
        assert_eq!(dropped.load(Relaxed), 2);
        backlog.store(0, Relaxed);
        feed.push(1, |missing| missing);
        feed.push(1, |missing| missing);
        let items = receiver.try_iter().filter_map(|message| match message {
            Message::Item { item, .. } => Some(item),
            Message::End => None,
        });
        assert_eq!(items.collect::<Vec<u64>>(), [2, 0], "the next item says how many are missing before it");
    }

    /// Fails at the second item.
    struct Full(u32);

    impl Sink for Full {
        type Item = ();
        fn write(&mut self, (): ()) -> io::Result<()> {
            self.0 += 1;
            if self.0 > 1 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_waits_for_the_file_learns_that_it_could_not_be_written() {
        let (mut spool, mut feed) = Spool::start("full", Full(0)).unwrap();
        for _ in 0..3 {
            feed.push(1, |_| ());
        }
        assert_eq!(spool.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
