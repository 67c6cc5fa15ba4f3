//! The halves of an [`MptcpStream`]: borrowed ones for one task, owned ones for two. As in
//! [`tokio::net::tcp`].

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

use crate::stream::MptcpStream;

/// The reading half of [`MptcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a MptcpStream);

/// The writing half of [`MptcpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a MptcpStream);

/// The reading half of [`MptcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf(Arc<MptcpStream>);

/// The writing half of [`MptcpStream::into_split`]. Dropping it shuts the direction down.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    stream: Arc<MptcpStream>,
    shutdown_on_drop: bool,
}

/// The two halves given to [`OwnedReadHalf::reunite`] are of different streams.
#[derive(Debug)]
pub struct ReuniteError(
    /// The reading half.
    pub OwnedReadHalf,
    /// The writing half.
    pub OwnedWriteHalf,
);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are not of the same stream")
    }
}

impl std::error::Error for ReuniteError {}

impl<'a> ReadHalf<'a> {
    pub(crate) fn new(stream: &'a MptcpStream) -> Self {
        Self(stream)
    }
}

impl<'a> WriteHalf<'a> {
    pub(crate) fn new(stream: &'a MptcpStream) -> Self {
        Self(stream)
    }
}

impl OwnedReadHalf {
    pub(crate) fn new(stream: Arc<MptcpStream>) -> Self {
        Self(stream)
    }

    /// Puts the stream together again.
    ///
    /// # Errors
    /// The halves are not of the same stream; they come back in the error.
    pub fn reunite(self, other: OwnedWriteHalf) -> Result<MptcpStream, ReuniteError> {
        if !Arc::ptr_eq(&self.0, &other.stream) {
            return Err(ReuniteError(self, other));
        }
        let Self(stream) = self;
        other.forget();
        // Two owners there were, and one of them is gone.
        Ok(Arc::into_inner(stream).expect("two halves own a stream"))
    }
}

impl OwnedWriteHalf {
    pub(crate) fn new(stream: Arc<MptcpStream>) -> Self {
        Self { stream, shutdown_on_drop: true }
    }

    /// Puts the stream together again.
    ///
    /// # Errors
    /// The halves are not of the same stream; they come back in the error.
    pub fn reunite(self, other: OwnedReadHalf) -> Result<MptcpStream, ReuniteError> {
        other.reunite(self)
    }

    /// Drops this half without shutting the direction down.
    pub fn forget(mut self) {
        self.shutdown_on_drop = false;
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.shutdown_on_drop {
            // Where the host has stopped, so has the direction.
            let _ = self.stream.shutdown_write();
        }
    }
}

impl AsRef<MptcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &MptcpStream {
        self.0
    }
}

impl AsRef<MptcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &MptcpStream {
        self.0
    }
}

impl AsRef<MptcpStream> for OwnedReadHalf {
    fn as_ref(&self) -> &MptcpStream {
        &self.0
    }
}

impl AsRef<MptcpStream> for OwnedWriteHalf {
    fn as_ref(&self) -> &MptcpStream {
        &self.stream
    }
}

macro_rules! either_half {
    ($($half:ty),*) => {$(
        impl $half {
            /// As [`MptcpStream::local_addr`].
            ///
            /// # Errors
            /// None; the signature is tokio's.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.as_ref().local_addr()
            }

            /// As [`MptcpStream::peer_addr`].
            ///
            /// # Errors
            /// None; the signature is tokio's.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.as_ref().peer_addr()
            }

            /// As [`MptcpStream::ready`].
            ///
            /// # Errors
            /// The host has stopped.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.as_ref().ready(interest).await
            }
        }
    )*};
}

macro_rules! reading_half {
    ($($half:ty),*) => {$(
        impl $half {
            /// As [`MptcpStream::readable`].
            ///
            /// # Errors
            /// The host has stopped.
            pub async fn readable(&self) -> io::Result<()> {
                self.as_ref().readable().await
            }

            /// As [`MptcpStream::peek`].
            ///
            /// # Errors
            /// As a read.
            pub async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.as_ref().peek(buf).await
            }

            /// As [`MptcpStream::try_read`].
            ///
            /// # Errors
            /// As [`MptcpStream::try_read`].
            pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.as_ref().try_read(buf)
            }

            /// As [`MptcpStream::try_read_vectored`].
            ///
            /// # Errors
            /// As [`MptcpStream::try_read`].
            pub fn try_read_vectored(&self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
                self.as_ref().try_read_vectored(bufs)
            }

            /// As [`MptcpStream::try_read_buf`].
            ///
            /// # Errors
            /// As [`MptcpStream::try_read`].
            pub fn try_read_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
                self.as_ref().try_read_buf(buf)
            }

            /// As [`MptcpStream::read_bytes`].
            ///
            /// # Errors
            /// As a read.
            pub async fn read_bytes(&mut self, max: usize) -> io::Result<bytes::Bytes> {
                std::future::poll_fn(|cx| self.as_ref().poll_read_bytes(cx, max)).await
            }
        }

        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.as_ref().get_ref().as_ref().poll_read_priv(cx, buf)
            }
        }
    )*};
}

macro_rules! writing_half {
    ($($half:ty),*) => {$(
        impl $half {
            /// As [`MptcpStream::writable`].
            ///
            /// # Errors
            /// The host has stopped.
            pub async fn writable(&self) -> io::Result<()> {
                self.as_ref().writable().await
            }

            /// As [`MptcpStream::try_write`].
            ///
            /// # Errors
            /// As [`MptcpStream::try_write`].
            pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
                self.as_ref().try_write(buf)
            }

            /// As [`MptcpStream::try_write_vectored`].
            ///
            /// # Errors
            /// As [`MptcpStream::try_write`].
            pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.as_ref().try_write_vectored(bufs)
            }

            /// As [`MptcpStream::write_bytes`].
            ///
            /// # Errors
            /// As a write.
            pub async fn write_bytes(&mut self, data: &mut bytes::Bytes) -> io::Result<usize> {
                std::future::poll_fn(|cx| self.as_ref().poll_write_bytes(cx, data)).await
            }
        }

        impl AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                let bufs = [IoSlice::new(buf)];
                self.as_ref().get_ref().as_ref().poll_write_priv(cx, &bufs)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.as_ref().get_ref().as_ref().poll_write_priv(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                let half = self.as_ref().get_ref();
                Poll::Ready(half.as_ref().shutdown_write())
            }
        }
    )*};
}

either_half!(ReadHalf<'_>, WriteHalf<'_>, OwnedReadHalf, OwnedWriteHalf);
reading_half!(ReadHalf<'_>, OwnedReadHalf);
writing_half!(WriteHalf<'_>, OwnedWriteHalf);
