//! How a script begins.

use super::*;

impl Script {
    pub(crate) fn new(options: &ScriptOptions) -> Script {
        Script::seeded(options, 7)
    }

    /// The same, with randomness of its own.
    pub(crate) fn seeded(options: &ScriptOptions, seed: u8) -> Script {
        let mut stack = Stack::new(options.config.clone(), [seed; 32]);
        let now = Instant::from_millis(10_000);
        for addr in &options.addresses {
            let link = stack.add_link(LinkConfig {
                mtu: 1500,
                max_segment: options.max_segment,
                checksum: ChecksumMode::Full,
            });
            stack.add_address(now, LocalAddress { addr: *addr, link, backup: false, name: None });
        }
        Script {
            stack,
            now,
            id: None,
            listener: None,
            stack_key: None,
            events: Vec::new(),
            sent: VecDeque::new(),
            flows: Vec::new(),
            current: 0,
        }
    }

    /// A stack that connects to the peer; its SYN is the next packet.
    pub(crate) fn client(options: &ScriptOptions) -> Script {
        let mut s = Script::new(options);
        let id = s.stack.connect(s.now, SocketAddr::new(PEER, PEER_PORT), options.connect.clone()).unwrap();
        s.id = Some(id);
        s.drain();
        let local = s.sent.front().map(|p| SocketAddr::new(p.seg.ip.src, p.seg.tcp.src_port)).unwrap();
        s.add_flow(local, SocketAddr::new(PEER, PEER_PORT));
        s
    }

    /// Connects to the peer once more; the new connection is the one in hand, its SYN the next packet.
    pub(crate) fn reconnect(&mut self) {
        let peer = SocketAddr::new(PEER, PEER_PORT);
        self.id = Some(self.stack.connect(self.now, peer, ConnectOptions::default()).unwrap());
        self.drain();
        let local = self.sent.front().map(|p| SocketAddr::new(p.seg.ip.src, p.seg.tcp.src_port)).unwrap();
        self.add_flow(local, peer);
    }

    /// Connects to the peer once more and writes so much at once; the new connection is the one in hand.
    pub(crate) fn connect_and_write(&mut self, options: ConnectOptions, len: usize) {
        let peer = SocketAddr::new(PEER, PEER_PORT);
        self.clear();
        self.id = Some(self.stack.connect(self.now, peer, options).unwrap());
        self.drain();
        if len > 0 {
            self.write(0, len);
        }
        let ends = |p: &Packet| SocketAddr::new(p.seg.ip.src, p.seg.tcp.src_port);
        let local = self.sent.front().map(ends).or_else(|| Some(self.info().local)).unwrap();
        self.add_flow(local, peer);
    }

    /// A stack that listens, before the peer's SYN.
    pub(crate) fn server(options: &ScriptOptions) -> Script {
        let mut s = Script::new(options);
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), STACK_PORT);
        s.listener = Some(s.stack.listen(any, 16).unwrap());
        s.add_flow(SocketAddr::new(WIFI, STACK_PORT), SocketAddr::new(PEER, 50_000));
        s
    }

    /// A client whose Multipath TCP connection is established and confirmed.
    pub(crate) fn active_client(options: &ScriptOptions) -> Script {
        let mut s = Script::client(options);
        s.expect(syn().opt(capable_syn()));
        s.advance(RTT);
        s.inject(syn_ack().opt(capable_syn_ack(PEER_KEY)));
        s.expect(ack(1).seq(1));
        s.inject(ack(1).opt(dack(1)));
        s.take_events();
        s
    }

    /// A server whose Multipath TCP connection is established and accepted.
    pub(crate) fn active_server(options: &ScriptOptions) -> Script {
        let mut s = Script::server(options);
        s.inject(syn().opt(capable_syn()));
        s.expect(syn_ack());
        let key = s.stack_key();
        s.advance(RTT);
        s.inject(ack(1).opt(capable_ack(PEER_KEY, key)));
        s.accept();
        s.take_events();
        s
    }

    /// A client whose plain TCP connection is established.
    pub(crate) fn plain_client(options: &ScriptOptions) -> Script {
        let mut s = Script::client(options);
        s.expect(syn());
        s.advance(RTT);
        s.inject(syn_ack());
        s.expect(ack(1).seq(1).plain());
        s.take_events();
        s
    }

    /// A server whose plain TCP connection is established and accepted.
    pub(crate) fn plain_server(options: &ScriptOptions) -> Script {
        let mut s = Script::server(options);
        s.inject(syn());
        s.expect(syn_ack().plain());
        s.advance(RTT);
        s.inject(ack(1));
        s.accept();
        s.take_events();
        s
    }
}
