//! The peer's part in MP_JOIN.

use super::script::{PEER_KEY, RTT, Script};
use super::seg::{Opt, Seg, ack, dack, join, syn_ack};
use polypath_wire::{MpJoin, MptcpOption, join_ack_hmac, join_synack_hmac};

/// The peer's nonce.
pub(crate) const NONCE: u32 = 0xdead_beef;

/// The peer's answer to a join with `nonce`.
pub(crate) fn join_syn_ack(s: &Script, nonce: u32) -> Seg {
    let hmac = join_synack_hmac(PEER_KEY, s.stack_key(), NONCE, nonce);
    syn_ack().opt(join(MpJoin::SynAck { backup: false, address_id: 9, hmac, nonce: NONCE }))
}

/// The stack's third ACK.
pub(crate) fn third_ack_of_stack(s: &Script, nonce: u32) -> Opt {
    join(MpJoin::Ack { hmac: join_ack_hmac(s.stack_key(), PEER_KEY, nonce, NONCE) })
}

/// The peer's third ACK.
pub(crate) fn third_ack_of_peer(s: &Script, nonce: u32) -> Opt {
    join(MpJoin::Ack { hmac: join_ack_hmac(PEER_KEY, s.stack_key(), NONCE, nonce) })
}

/// Lets the stack's join from its second address succeed; the new flow is the current one.
pub(crate) fn let_join(s: &mut Script) -> usize {
    let (flow, packet) = s.take_syn();
    let [MptcpOption::MpJoin(MpJoin::Syn { nonce, .. })] = packet.seg.options.mptcp[..] else { panic!("{packet:?}") };
    s.advance(RTT);
    let answer = join_syn_ack(s, nonce);
    s.inject(answer);
    let third = third_ack_of_stack(s, nonce);
    s.expect(ack(1).opt(third));
    s.inject(ack(1).opt(dack(1)));
    flow
}
