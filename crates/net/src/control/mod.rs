//! A UNIX socket for each process, on which it tells how things stand.
//!
//! The socket is called `PID.sock` and lies in `$XDG_RUNTIME_DIR/polypath`, or in `/run/polypath` where that variable
//! names no directory. The directory is its owner's alone (0700), so is the socket (0600). A client sends the line `snapshot`
//! and gets one JSON document, a [`Snapshot`]; then the connection is closed. By hand:
//! `echo snapshot | socat - UNIX:/run/polypath/4711.sock`. A client that begins with a JSON object has a session: see
//! `docs/path-management.md`.

mod session;

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::monitor::Monitor;
use crate::snapshot::Snapshot;

const SYSTEM: &str = "/run/polypath";
const REQUEST: &str = "snapshot";
/// How long a client, or an instance, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// No instance tells more than this.
const ANSWER_LEN: u64 = 256 << 20;
/// Clients served at once; more wait.
const CLIENTS: usize = 64;
/// Several sockets of one PID: several hosts in a process, or several PID namespaces.
const SAME_PID: u32 = 100;

/// The socket of this process. It goes when this is dropped.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    server: JoinHandle<()>,
}

/// What [`list`] found at one socket.
#[derive(Debug)]
#[non_exhaustive]
pub struct Instance {
    /// The socket.
    pub path: PathBuf,
    /// What it told.
    pub snapshot: io::Result<Snapshot>,
}

impl Control {
    /// Opens the socket, and takes away those that ended processes have left behind.
    ///
    /// # Errors
    /// The directory cannot be made, or belongs to somebody else; or the socket cannot be made there.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub fn open(monitor: &Monitor) -> io::Result<Control> {
        Self::open_in(&own_directory(), monitor.clone())
    }

    fn open_in(directory: &Path, monitor: Monitor) -> io::Result<Control> {
        let (path, listener) = bind_in(directory).map_err(|error| about(directory, &error))?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Control { path, server: tokio::spawn(serve(listener, monitor)) })
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.server.abort();
        // Somebody else may have tidied up.
        let _ = fs::remove_file(&self.path);
        // Fails, as it should, while others have sockets there.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

/// Asks all running instances whose sockets this user may open, in the order of their PIDs. Sockets that ended
/// processes have left behind are taken away.
///
/// # Errors
/// A directory is there and cannot be read.
pub fn list() -> io::Result<Vec<Instance>> {
    let mut instances = Vec::new();
    for directory in directories() {
        for path in sockets(&directory).map_err(|error| about(&directory, &error))? {
            match query(&path) {
                Err(error) if is_gone(&error) => remove_if_ours(&path),
                snapshot => instances.push(Instance { path, snapshot }),
            }
        }
    }
    instances.sort_by_key(|instance| instance.snapshot.as_ref().map_or(u32::MAX, |snapshot| snapshot.pid));
    Ok(instances)
}

/// Asks one instance.
fn query(path: &Path) -> io::Result<Snapshot> {
    let mut stream = StdStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{REQUEST}\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LEN).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map_err(io::Error::from)
}

async fn serve(listener: UnixListener, monitor: Monitor) {
    // Dropped, and so ended, with this task.
    let mut clients = JoinSet::new();
    loop {
        let client = async {
            if clients.len() >= CLIENTS {
                clients.join_next().await;
            }
            while clients.try_join_next().is_some() {}
            listener.accept().await
        };
        match client.await {
            Ok((stream, _)) => {
                let monitor = monitor.clone();
                clients.spawn(async move {
                    // A client that goes away, or says nothing, is no concern of ours.
                    let _ = answer(stream, &monitor).await;
                });
            }
            // Out of descriptors, at worst: later there may be some.
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

async fn answer(stream: UnixStream, monitor: &Monitor) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut limited = (&mut stream).take(session::LINE as u64);
    tokio::time::timeout(PATIENCE, limited.read_line(&mut line)).await??;
    let mut answer = match line.trim_end() {
        REQUEST => serde_json::to_vec(&monitor.snapshot())?,
        json if json.starts_with('{') => return session::serve(stream, line, monitor).await,
        other => serde_json::to_vec(&serde_json::json!({ "error": format!("unknown request {other:?}") }))?,
    };
    answer.push(b'\n');
    tokio::time::timeout(PATIENCE, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    })
    .await?
}

/// Where this process puts its socket.
fn own_directory() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| Path::new(directory).is_absolute() && Path::new(directory).is_dir())
        .map_or_else(|| SYSTEM.into(), |directory| Path::new(&directory).join("polypath"))
}

/// Where instances of this user may be.
fn directories() -> Vec<PathBuf> {
    let of_user = format!("/run/user/{}/polypath", rustix::process::geteuid().as_raw());
    let mut directories = vec![own_directory()];
    for directory in [of_user.into(), PathBuf::from(SYSTEM)] {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories
}

/// A socket in a directory that may have to be made, without those that ended processes have left.
fn bind_in(directory: &Path) -> io::Result<(PathBuf, StdListener)> {
    let mut tries = 0..3;
    loop {
        make_directory(directory)?;
        remove_stale(directory);
        match bind(directory) {
            // The last instance has just taken the empty directory with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries.next().is_some() => {}
            result => return result,
        }
    }
}

/// Makes the directory, or finds that it is ours alone.
fn make_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(directory)?;
    let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if !ours {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a directory of this user alone (0700)"));
    }
    Ok(())
}

/// A listening socket under a free name. The name appears when the socket listens already: nobody may take it for a
/// stale one.
fn bind(directory: &Path) -> io::Result<(PathBuf, StdListener)> {
    let pid = std::process::id();
    for number in 0..SAME_PID {
        let name = if number == 0 { format!("{pid}.sock") } else { format!("{pid}-{number}.sock") };
        let (hidden, path) = (directory.join(format!(".{name}.new")), directory.join(name));
        if path.exists() {
            continue;
        }
        let _ = fs::remove_file(&hidden);
        let listener = StdListener::bind(&hidden)?;
        fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
        // Unlike a rename, this does not take the place of another.
        let linked = fs::hard_link(&hidden, &path);
        fs::remove_file(&hidden)?;
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Ok((path, listener)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("no free name is left for process {pid}")))
}

/// The sockets in a directory; none where there is no directory, or a stranger's.
fn sockets(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    let visible = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "sock")
            && path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
    };
    Ok(paths.into_iter().filter(visible).collect())
}

/// Takes away the sockets on which nobody listens.
fn remove_stale(directory: &Path) {
    for path in sockets(directory).unwrap_or_default() {
        if StdStream::connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            remove_if_ours(&path);
        }
    }
}

fn remove_if_ours(path: &Path) {
    // What cannot be removed is not ours.
    let _ = fs::remove_file(path);
}

/// The process has ended: before we asked, or just now.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that goes with the value.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("polypath-control-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_of_ours_is_made_and_an_open_one_is_refused() {
        let scratch = Scratch::new("directory");
        let directory = scratch.0.join("polypath");
        make_directory(&directory).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        make_directory(&directory).unwrap();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(make_directory(&directory).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let link = scratch.0.join("link");
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        assert!(make_directory(&link).is_err());
    }

    #[test]
    fn sockets_of_one_process_have_different_names_and_only_dead_ones_go() {
        let scratch = Scratch::new("names");
        let (first, alive) = bind(&scratch.0).unwrap();
        let (second, dead) = bind(&scratch.0).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o600);
        assert_eq!(sockets(&scratch.0).unwrap().len(), 2);
        drop(dead);
        remove_stale(&scratch.0);
        assert_eq!(sockets(&scratch.0).unwrap(), std::slice::from_ref(&first));
        assert!(StdStream::connect(&first).is_ok());
        drop(alive);
    }
}
