//! A packet scheduler of one's own: the first path as long as it keeps up, the others only when it does not.
//!
//! Someone pays for every megabyte over LTE. So LTE helps out while Wi-Fi answers late, and rests otherwise.
//!
//! ```text
//! cargo run --example own_scheduler -- 192.0.2.1:80 10.1.0.2=wifi 10.2.0.2=lte
//! ```
//!
//! The addresses have to be routed to this host's TUN device, as for `polypath run --address`.

use std::time::Duration;

use polypath::scheduler::{Decision, Scheduler, SchedulerKind, View};
use polypath::{Config, Host, MptcpStream, SubflowId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What costs nothing. Subflows are numbered in the order in which they were opened: 0 is the connection's first.
const FREE: SubflowId = SubflowId(0);

/// One for each connection: it may keep state of its own between two questions.
#[derive(Debug)]
struct Thrifty {
    /// A round trip longer than this is too long.
    patience: Duration,
}

impl Scheduler for Thrifty {
    fn name(&self) -> &'static str {
        "thrifty"
    }

    fn schedule(&mut self, view: &View<'_>) -> Decision {
        // `eligible` leaves out paths that do not answer while others do, backups that are not needed, and, for data that
        // was given to a subflow before, that one.
        let free = view.eligible().find(|path| path.id == FREE);
        match free {
            // It keeps up: wait for room on it, if it has none now.
            Some(path) if path.srtt < self.patience => Decision::on(Some(path).filter(|path| path.fits(view.pending))),
            _ => Decision::on(view.fastest_with_room()),
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let remote = args.next().expect("usage: own_scheduler REMOTE:PORT ADDRESS=NAME...");
    let thrifty = || Box::new(Thrifty { patience: Duration::from_millis(80) }) as Box<dyn Scheduler>;
    let config = Config { scheduler: SchedulerKind::custom(thrifty), ..Config::default() };
    let mut host = Host::builder().config(config);
    for path in args {
        let (addr, name) = path.split_once('=').expect("ADDRESS=NAME");
        host = host.address(addr.parse().expect("an IP address"), Some(name), false);
    }
    let host = host.start()?;

    let mut stream = MptcpStream::connect(&host, remote).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    println!("{} bytes", answer.len());
    for subflow in stream.info()?.subflows {
        println!("{:?}: {} bytes sent, {} received", subflow.name, subflow.bytes_sent, subflow.bytes_received);
    }
    drop(stream);
    host.shutdown(Duration::from_secs(5)).await
}
