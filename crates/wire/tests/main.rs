//! Tests of the wire formats, filed by behaviour.

mod budget;
mod checksums;
mod hostile_bytes;
mod ip_headers;
mod kernel_packets;
mod keys_and_hmacs;
mod mptcp_options;
mod segmentation;
mod sequence_numbers;
mod strategies;
mod tcp_options;
mod whole_headers;
