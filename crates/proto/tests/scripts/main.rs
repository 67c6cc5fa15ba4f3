//! Behaviour, packet by packet on a virtual clock: scripts that play the peer of one stack, and pairs of stacks.

mod support;

mod addresses;
mod attacks;
mod attacks_memory;
mod checksum;
mod close;
mod congestion;
mod data;
mod ecn;
mod fallback;
mod fast_open;
mod floods;
mod handshake;
mod instruments;
mod join;
mod keepalive;
mod listen;
mod nagle;
mod open;
mod path_mtu;
mod paths;
mod rack;
mod recovery;
mod rtt;
mod sack;
mod schedulers;
mod segments;
mod settings;
mod strangers;
mod syn_cookies;
mod time_wait;
mod timestamps;
mod uneven;
mod window;
