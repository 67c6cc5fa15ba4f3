//! Multipath TCP (RFC 8684) in user space, for Linux.
//!
//! One connection over several network paths at once: it goes on when a path goes away, and uses the capacity of all
//! of them. The stack speaks TCP and Multipath TCP itself, over a TUN device, so it needs nothing of the kernel's own
//! Multipath TCP; peers are any Linux, iOS or macOS host that speaks it, or any TCP host, to which it is plain TCP.
//!
//! # Streams
//!
//! [`MptcpStream`] and [`MptcpListener`] have the names, methods and errors of `tokio::net::TcpStream` and
//! `tokio::net::TcpListener`; what makes the difference is a [`Host`] in front: a stack with addresses of its own.
//!
//! A client that sends a line over two paths and reads it back:
//!
//! ```no_run
//! use polypath::{Host, MptcpStream};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn client() -> std::io::Result<()> {
//! let host = Host::builder()
//!     .address("10.1.0.2".parse().unwrap(), Some("wifi"), false)
//!     .address("10.2.0.2".parse().unwrap(), Some("lte"), false)
//!     .start()?;
//!
//! let mut stream = MptcpStream::connect(&host, "192.0.2.1:7").await?;
//! stream.write_all(b"hello\n").await?;
//! stream.shutdown().await?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer).await?;
//!
//! for subflow in stream.info()?.subflows {
//!     println!("{:?} {} bytes", subflow.name, subflow.bytes_received);
//! }
//! drop(stream);
//! host.shutdown(std::time::Duration::from_secs(5)).await
//! # }
//! ```
//!
//! And the server that it talks to, which takes plain TCP clients as well:
//!
//! ```no_run
//! use polypath::{Host, MptcpListener};
//!
//! # async fn server() -> std::io::Result<()> {
//! let host = Host::builder().address("192.0.2.1".parse().unwrap(), None, false).start()?;
//! let listener = MptcpListener::bind(&host, "192.0.2.1:7").await?;
//! loop {
//!     let (stream, peer) = listener.accept().await?;
//!     tokio::spawn(async move {
//!         let (mut reader, mut writer) = stream.into_split();
//!         if let Err(error) = tokio::io::copy(&mut reader, &mut writer).await {
//!             eprintln!("{peer}: {error}");
//!         }
//!     });
//! }
//! # }
//! ```
//!
//! # Addresses
//!
//! A client [attached](HostBuilder::attach) to an ordinary machine speaks from the addresses that its interfaces have,
//! and follows them as they come and go:
//!
//! ```no_run
//! # fn start() -> std::io::Result<polypath::Host> {
//! polypath::Host::builder().attach(polypath::AttachOptions::default()).start()
//! # }
//! ```
//!
//! Addresses given to a [`Host`] are routed instead: the stack owns them, no interface of the machine carries them, and the
//! kernel leads packets for them into the TUN device. It needs `CAP_NET_ADMIN` in its network namespace, and
//! `/dev/net/tun`.
//!
//! # What can be exchanged
//!
//! [`Config`] says which congestion control and packet scheduler a stack uses, how much memory a connection may take,
//! and how many subflows. The traits behind it are [`congestion::CongestionControl`], [`scheduler::Scheduler`] and
//! [`path_manager::PathManager`].
//!
//! # Watching
//!
//! [`MptcpStream::info`] and [`Host::connections`] tell how things stand, [`Host::mib`] what was counted;
//! [`Host::events`] follows connections and subflows as they come and go. A [`Monitor`] keeps account for
//! [`Snapshot`]s, which [`control::Control`] shows to `polypath ss`; [`Capture`] writes packets and [`TraceFile`] every
//! decision with its reason.

pub use polypath_net::control;
pub use polypath_net::{
    AttachOptions, Capture, Captured, ConnectionHandle, ConnectionSnapshot, DeviceStats, EndedSubflow,
    FinishedConnections, Host, HostBuilder, ListenOptions, Monitor, MptcpListener, MptcpStream, OwnedReadHalf,
    OwnedWriteHalf, PathOptions, PathSnapshot, ReadHalf, ReuniteError, Snapshot, SubflowSnapshot, TraceFile, WriteHalf,
};
pub use polypath_proto::{
    AcceptPolicy, CloseReason, Config, ConnectOptions, ConnectionError, ConnectionId, ConnectionInfo, Counters, Event,
    FallbackReason, Keepalive, MultipathState, PathName, PathPolicy, PathUse, Role, SessionInfo, State, SubflowEvent,
    SubflowId, SubflowInfo, SynCookies, TcpInfo,
};
pub use polypath_proto::{Instant, congestion, mib, path_manager, scheduler, trace};
