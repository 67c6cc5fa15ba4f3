//! Programs that bring files somewhere: git, ssh, rsync.

use super::{Entry, MPTCPIZE, PYTHON, Role};
use crate::act::Act;
use crate::packages::{Need, need};
use crate::programs::Program;
use anyhow::ensure;
use std::fs;

const GIT: Need = need("git", "git");
const SSH: [Need; 3] =
    [need("ssh", "openssh-client"), need("sshd", "openssh-server"), need("ssh-keygen", "openssh-client")];
const RSYNC: Need = need("rsync", "rsync");
/// What scp copies.
const COPIED: u64 = 100_000_000;
/// Small files beside the large one.
const SMALL: u64 = 200;

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "git",
        program: "git",
        role: Role::Client,
        needs: &[GIT, PYTHON],
        version: &["git", "--version"],
        tried: "clone over HTTP (smart protocol), fsck, a commit, push",
        work: git,
    },
    Entry {
        name: "ssh",
        program: "OpenSSH client",
        role: Role::Client,
        needs: &[SSH[0], SSH[1], SSH[2], MPTCPIZE],
        version: &["ssh", "-V"],
        tried: "scp of 100 MB there, and a quarter back; a command",
        work: ssh,
    },
    Entry {
        name: "sshd",
        program: "OpenSSH server",
        role: Role::Server,
        needs: &[SSH[0], SSH[1], SSH[2], MPTCPIZE],
        version: &["ssh", "-V"],
        tried: "scp of 100 MB there, and a quarter back; a command",
        work: ssh,
    },
    Entry {
        name: "rsync",
        program: "rsync",
        role: Role::Client,
        needs: &[RSYNC, MPTCPIZE],
        version: &["rsync", "--version"],
        tried: "a tree with one large and 200 small files from a daemon, a file there",
        work: rsync,
    },
    Entry {
        name: "rsync-daemon",
        program: "rsync --daemon",
        role: Role::Server,
        needs: &[RSYNC, MPTCPIZE],
        version: &["rsync", "--version"],
        tried: "a tree with one large and 200 small files from it, a file there",
        work: rsync,
    },
];

fn git(act: &Act<'_>) -> anyhow::Result<()> {
    let git = |words: &[&str]| act.aside(&[&["git"], words].concat());
    let commit = |folder: &str| {
        git(&["-C", folder, "add", "."])?;
        let author = ["-c", "user.name=Zoo", "-c", "user.email=zoo@example.org"];
        git(&[&["-C", folder], &author[..], &["commit", "-q", "-m", "Payload"]].concat())?;
        git(&["-C", folder, "rev-parse", "HEAD"])
    };
    git(&["init", "-q", "--bare", "-b", "main", "peer.git"])?;
    git(&["init", "-q", "-b", "main", "work"])?;
    act.payload("work/large", act.bytes())?;
    for n in 0..SMALL {
        act.payload(&format!("work/small/{n}"), n)?;
    }
    let head = commit("work")?;
    git(&["-C", "work", "push", "-q", "../peer.git", "main"])?;

    let server = act.workshop.get(Program::GitPeer)?;
    act.peer_server(&format!("python3 {server} 8000 {}", act.folder().display()), 8000)?;
    act.client(&format!("git clone -q http://{}:8000/peer.git clone", act.address()))?;
    git(&["-C", "clone", "fsck", "--strict"])?;
    ensure!(git(&["-C", "clone", "rev-parse", "HEAD"])? == head, "another commit has arrived");
    act.verify("clone/large", act.bytes())?;

    act.payload("clone/pushed", act.little())?;
    let head = commit("clone")?;
    act.client("git -C clone push -q origin main")?;
    git(&["-C", "peer.git", "fsck", "--strict"])?;
    ensure!(git(&["-C", "peer.git", "rev-parse", "main"])? == head, "the push has not arrived");
    Ok(())
}

fn ssh(act: &Act<'_>) -> anyhow::Result<()> {
    let folder = act.folder().display();
    for key in ["host_key", "client_key"] {
        act.aside(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])?;
    }
    act.write(
        "sshd_config",
        &format!(
            "Port 2222\nHostKey {folder}/host_key\nAuthorizedKeysFile {folder}/client_key.pub\nStrictModes no\n\
             PermitRootLogin yes\nUsePAM no\nPidFile none\nSubsystem sftp internal-sftp\n"
        ),
    )?;
    act.write(
        "ssh_config",
        "Port 2222\nUser root\nIdentityFile client_key\nIdentitiesOnly yes\nBatchMode yes\n\
         StrictHostKeyChecking no\nUserKnownHostsFile known_hosts\n",
    )?;
    // Of a tmpfs of ours.
    fs::create_dir_all("/run/sshd")?;
    act.payload("large", COPIED)?;
    act.server(&format!("sshd -D -e -f {folder}/sshd_config"), 2222)?;
    let address = act.address();
    act.client(&format!("scp -q -F ssh_config large {address}:{folder}/arrived"))?;
    act.verify("arrived", COPIED)?;
    let said = act.client(&format!("ssh -F ssh_config {address} sha256sum {folder}/arrived"))?;
    ensure!(said.starts_with(&Act::digest(COPIED)), "sha256sum over ssh said {said}");
    act.payload("quarter", COPIED / 4)?;
    act.client(&format!("scp -q -F ssh_config {address}:{folder}/quarter back"))?;
    act.verify("back", COPIED / 4)
}

fn rsync(act: &Act<'_>) -> anyhow::Result<()> {
    let folder = act.folder().display();
    act.write(
        "rsyncd.conf",
        &format!(
            "port = 8730\nuse chroot = no\nreverse lookup = no\nlog file = {folder}/rsyncd.log\nlock file = {folder}/rsyncd.lock\n\
             [tree]\npath = {folder}/tree\nread only = no\nuid = root\ngid = root\n"
        ),
    )?;
    act.payload("tree/large", act.bytes())?;
    for n in 0..SMALL {
        act.payload(&format!("tree/small/{n}"), n)?;
    }
    act.server(&format!("rsync --daemon --no-detach --config={folder}/rsyncd.conf"), 8730)?;
    let url = format!("rsync://{}:8730/tree", act.address());
    act.client(&format!("rsync -a {url}/ down/"))?;
    act.verify("down/large", act.bytes())?;
    (0..SMALL).try_for_each(|n| act.verify(&format!("down/small/{n}"), n))?;
    act.payload("up", act.little())?;
    act.client(&format!("rsync -a up {url}/up"))?;
    act.verify("tree/up", act.little())
}
