//! eBPF programs at the uplinks: XDP, before everything else, and tcx, before nf_tables. What they do with a packet,
//! only they know.

use std::io;

use super::{Effect, Obstacle, Way};
use crate::attach::discover::Path;
use crate::attach::snapshot::Snapshot;

// Values of `linux/bpf.h`.
const PROG_QUERY: libc::c_int = 16;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;

/// What is asked of `bpf(2)` about the programs at a hook; how many there are is answered in `count`.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// What stands at the uplinks of `paths`.
pub(super) fn at_uplinks(snapshot: &Snapshot, paths: &[Path]) -> io::Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    for link in snapshot.links.iter().filter(|link| paths.iter().any(|path| path.index == link.index)) {
        let uplink = &link.name;
        if let Some(id) = link.xdp {
            let what = format!("an XDP program (id {id}) may drop or redirect what comes in there");
            found.push(Obstacle::on(uplink, Effect::MayBlock, what, format!("bpftool prog show id {id}")));
        }
        for (way, hook) in [(Way::In, TCX_INGRESS), (Way::Out, TCX_EGRESS)] {
            let count = programs(link.index, hook)?;
            if count > 0 {
                let what = format!("{count} tcx programs may drop or redirect what {way} there");
                found.push(Obstacle::on(uplink, Effect::MayBlock, what, format!("bpftool net show dev {uplink}")));
            }
        }
    }
    Ok(found)
}

/// How many programs there are at a tcx hook.
fn programs(index: u32, hook: u32) -> io::Result<u32> {
    let mut query = Query { target: index, attach_type: hook, ..Query::default() };
    // SAFETY: the kernel reads and writes as many bytes as are given, all of them in `query`; without arrays for the
    // programs' numbers it only counts.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if result == 0 {
        return Ok(query.count);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Before Linux 6.6 there was no such hook; with none used yet, there is nothing to ask; without bpf, no program.
        Some(libc::EINVAL | libc::ENOENT | libc::ENOSYS | libc::E2BIG) => Ok(0),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use netlink_packet_route::RouteNetlinkMessage;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};

    use super::*;
    use crate::device::Netlink;
    use crate::testing::{in_namespace, ip};

    /// A program of this type that lets everything pass by answering `verdict`.
    fn load(kind: u32, verdict: i32) -> OwnedFd {
        #[repr(C)]
        struct Load {
            kind: u32,
            instructions: u32,
            code: u64,
            license: u64,
            rest: [u64; 16],
        }
        // r0 = verdict; exit.
        let code = [0xb7 | (u64::from(verdict.cast_unsigned()) << 32), 0x95];
        let license = c"MIT";
        let load =
            Load { kind, instructions: 2, code: code.as_ptr() as u64, license: license.as_ptr() as u64, rest: [0; 16] };
        // SAFETY: BPF_PROG_LOAD (5) reads `load` and what it points to, all of which live until it returns.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, 5, &raw const load, size_of::<Load>()) };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the kernel has just given us this descriptor.
        unsafe { OwnedFd::from_raw_fd(fd as i32) }
    }

    fn found() -> Vec<String> {
        let snapshot = Snapshot::take(&mut Netlink::open().unwrap()).unwrap();
        let index = Netlink::open().unwrap().interface_index("u1").unwrap();
        let addr = [10, 1, 0, 2].into();
        let path = Path { interface: "u1".into(), index, addr, backup: false, mtu: 1500, routes: Vec::new() };
        at_uplinks(&snapshot, &[path]).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_xdp_program_is_found() {
        in_namespace(|| {
            ip("link add u1 type veth peer name p1");
            assert_eq!(found(), [""; 0]);
            let program = load(6, 2);
            let mut netlink = Netlink::open().unwrap();
            let mut message = LinkMessage::default();
            message.header.index = netlink.interface_index("u1").unwrap();
            message.attributes = vec![LinkAttribute::Xdp(vec![LinkXdp::Fd(program.as_raw_fd()), LinkXdp::Flags(2)])];
            netlink.request(RouteNetlinkMessage::SetLink(message), 0).unwrap();
            assert!(found()[0].starts_with("u1: an XDP program (id "), "{:?}", found());
        });
    }

    #[test]
    fn tcx_programs_are_counted_in_each_direction() {
        in_namespace(|| {
            ip("link add u1 type veth peer name p1");
            let program = load(3, -1);
            let index = Netlink::open().unwrap().interface_index("u1").unwrap();
            let attach = [index, program.as_raw_fd().cast_unsigned(), TCX_EGRESS, 0, 0, 0, 0, 0];
            // SAFETY: BPF_PROG_ATTACH (8) reads these 32 bytes.
            let result = unsafe { libc::syscall(libc::SYS_bpf, 8, &raw const attach, size_of_val(&attach)) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            assert_eq!(found().len(), 1, "{:?}", found());
            assert!(found()[0].contains("1 tcx programs may drop or redirect what goes out"), "{:?}", found());
        });
    }
}
