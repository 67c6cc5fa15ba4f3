"""Every option on every state: asked and set, with good and bad lengths and values."""

NAMES = {
    ('SOL_SOCKET', 1): 'DEBUG REUSEADDR TYPE ERROR DONTROUTE BROADCAST SNDBUF RCVBUF KEEPALIVE OOBINLINE NO_CHECK PRIORITY LINGER '
        'BSDCOMPAT REUSEPORT PASSCRED PEERCRED RCVLOWAT SNDLOWAT RCVTIMEO SNDTIMEO - - - BINDTODEVICE ATTACH_FILTER DETACH_FILTER '
        'PEERNAME TIMESTAMP ACCEPTCONN PEERSEC SNDBUFFORCE RCVBUFFORCE PASSSEC TIMESTAMPNS MARK TIMESTAMPING PROTOCOL DOMAIN RXQ_OVFL '
        'WIFI_STATUS PEEK_OFF NOFCS LOCK_FILTER SELECT_ERR_QUEUE BUSY_POLL MAX_PACING_RATE BPF_EXTENSIONS INCOMING_CPU ATTACH_BPF '
        'ATTACH_REUSEPORT_CBPF ATTACH_REUSEPORT_EBPF CNX_ADVICE - MEMINFO INCOMING_NAPI_ID COOKIE - PEERGROUPS ZEROCOPY TXTIME '
        'BINDTOIFINDEX TIMESTAMP_NEW TIMESTAMPNS_NEW TIMESTAMPING_NEW RCVTIMEO_NEW SNDTIMEO_NEW DETACH_REUSEPORT_BPF PREFER_BUSY_POLL '
        'BUSY_POLL_BUDGET NETNS_COOKIE BUF_LOCK RESERVE_MEM TXREHASH RCVMARK PASSPIDFD PEERPIDFD',
    ('IPPROTO_TCP', 6): 'NODELAY MAXSEG CORK KEEPIDLE KEEPINTVL KEEPCNT SYNCNT LINGER2 DEFER_ACCEPT WINDOW_CLAMP INFO QUICKACK CONGESTION '
        'MD5SIG - THIN_LINEAR_TIMEOUTS THIN_DUPACK USER_TIMEOUT REPAIR REPAIR_QUEUE QUEUE_SEQ REPAIR_OPTIONS FASTOPEN TIMESTAMP '
        'NOTSENT_LOWAT CC_INFO SAVE_SYN SAVED_SYN REPAIR_WINDOW FASTOPEN_CONNECT ULP MD5SIG_EXT FASTOPEN_KEY FASTOPEN_NO_COOKIE '
        'ZEROCOPY_RECEIVE INQ TX_DELAY AO_ADD_KEY AO_DEL_KEY AO_INFO AO_GET_KEYS AO_REPAIR IS_MPTCP RTO_MAX_MS RTO_MIN_US DELACK_MAX_US',
    ('IPPROTO_IP', 0): 'TOS TTL HDRINCL OPTIONS ROUTER_ALERT RECVOPTS RETOPTS PKTINFO PKTOPTIONS MTU_DISCOVER RECVERR RECVTTL RECVTOS MTU '
        'FREEBIND IPSEC_POLICY XFRM_POLICY PASSSEC TRANSPARENT ORIGDSTADDR MINTTL NODEFRAG CHECKSUM BIND_ADDRESS_NO_PORT RECVFRAGSIZE '
        'RECVERR_RFC4884 - - - - - MULTICAST_IF MULTICAST_TTL MULTICAST_LOOP ADD_MEMBERSHIP DROP_MEMBERSHIP UNBLOCK_SOURCE BLOCK_SOURCE '
        'ADD_SOURCE_MEMBERSHIP DROP_SOURCE_MEMBERSHIP MSFILTER MCAST_JOIN_GROUP MCAST_BLOCK_SOURCE MCAST_UNBLOCK_SOURCE MCAST_LEAVE_GROUP '
        'MCAST_JOIN_SOURCE_GROUP MCAST_LEAVE_SOURCE_GROUP MCAST_MSFILTER MULTICAST_ALL UNICAST_IF LOCAL_PORT_RANGE PROTOCOL',
    ('IPPROTO_IPV6', 41): 'ADDRFORM 2292PKTINFO 2292HOPOPTS 2292DSTOPTS 2292RTHDR 2292PKTOPTIONS CHECKSUM 2292HOPLIMIT NEXTHOP AUTHHDR '
        'FLOWINFO - - - - UNICAST_HOPS MULTICAST_IF MULTICAST_HOPS MULTICAST_LOOP ADD_MEMBERSHIP DROP_MEMBERSHIP ROUTER_ALERT '
        'MTU_DISCOVER MTU RECVERR V6ONLY JOIN_ANYCAST LEAVE_ANYCAST MULTICAST_ALL ROUTER_ALERT_ISOLATE RECVERR_RFC4884 FLOWLABEL_MGR '
        'FLOWINFO_SEND IPSEC_POLICY XFRM_POLICY HDRINCL - - - - - - - - - - - - RECVPKTINFO PKTINFO RECVHOPLIMIT HOPLIMIT RECVHOPOPTS '
        'HOPOPTS RTHDRDSTOPTS RECVRTHDR RTHDR RECVDSTOPTS DSTOPTS RECVPATHMTU PATHMTU DONTFRAG',
    ('SOL_MPTCP', 284): 'INFO TCPINFO SUBFLOW_ADDRS FULL_INFO',
}
PREFIX = {'SOL_SOCKET': 'SO_', 'IPPROTO_TCP': 'TCP_', 'IPPROTO_IP': 'IP_', 'IPPROTO_IPV6': 'IPV6_', 'SOL_MPTCP': 'MPTCP_'}

def options():
    for (level_name, level), names in NAMES.items():
        # And a few that nobody has given a name yet.
        for number, name in enumerate(names.split() + ['-'] * 3, start=1):
            yield level, number, f'{PREFIX[level_name]}{name if name != "-" else number}'
    for level in 17, 58, 132, 255, 263, 270, 282, 5000, -1: yield level, 1, f'level {level}'
    # Of netfilter's own nothing is asked, lest the kernel load it.
    yield 41, 70, 'IPV6_AUTOFLOWLABEL'; yield 41, 67, 'IPV6_TCLASS'; yield 41, 72, 'IPV6_ADDR_PREFERENCES'; yield 41, 73, 'IPV6_MINHOPCOUNT'
    yield 41, 78, 'IPV6_FREEBIND'; yield 0, 0, 'IP_0'; yield 1, 0, 'SO_0'; yield 6, 0, 'TCP_0'

# Values that differ from socket to socket, or with time: only how long they are is told. The network tells some of them, which is tried with the stack.
VARIES = {'IP_PROTOCOL', 'SO_COOKIE', 'SO_MEMINFO', 'SO_INCOMING_CPU', 'SO_INCOMING_NAPI_ID', 'SO_PEERNAME', 'TCP_INFO', 'TCP_TIMESTAMP', 'TCP_CC_INFO',
          'TCP_ZEROCOPY_RECEIVE', 'MPTCP_INFO', 'MPTCP_TCPINFO', 'MPTCP_SUBFLOW_ADDRS', 'MPTCP_FULL_INFO', 'TCP_FASTOPEN_KEY', 'TCP_SAVED_SYN'}

# Only a stack knows the sizes of its connections.
OF_THE_STACK = {(0, 'IP_MTU'), (41, 'IPV6_MTU'), (41, 'IPV6_PATHMTU'), (6, 'TCP_MAXSEG')}

def get(fd, level, number, name, room):
    buffer, length = ctypes.create_string_buffer(b'\xee' * 512, 512), ctypes.c_int32(room)
    # Where it takes pointers, they lead nowhere.
    if level == 284: ctypes.memset(buffer, 0, 512)
    result = call('getsockopt', fd, level, number, buffer, ctypes.byref(length))
    if result != '0': return result
    value = buffer.raw[:max(0, min(length.value, 512))]
    if name in VARIES: value = b''
    return f'{length.value}:{value.hex()}'

INT = struct.Struct('i')
VALUES = {
    '1': INT.pack(1), '0': INT.pack(0), '-1': INT.pack(-1), '77': INT.pack(77), '100000': INT.pack(100000), 'nothing': b'',
    'a byte': b'\1', '3 bytes': b'\1\0\0', '8 bytes': struct.pack('ii', 1, 0), '16 bytes': struct.pack('ll', 1, 5), 'reno': b'reno', 'none': b'none\0',
}
FEW = ['1', '0', 'nothing', '3 bytes']
THOROUGH = {'fresh', 'fresh v6', 'connected', 'connected v6'}

def set_(fd, level, number, value, length=None):
    return call('setsockopt', fd, level, number, value, len(value) if length is None else length)

def ask_options(states):
    for state in states:
        # There the kernel asks a socket of plain TCP under it.
        if state == 'connected mptcp': continue
        s = in_state(state)
        for level, number, name in options():
            if (level, name) in OF_THE_STACK and 'fresh' not in state: continue
            fd = s.fileno()
            for room in (4, 512, 0, 1, 8, -1) if state in THOROUGH else (4, 512, 1):
                out(state, f'get {name} into {room}', get(fd, level, number, name, room))
            fresh = True
            for key in VALUES if state in THOROUGH else FEW:
                result = set_(fd, level, number, VALUES[key])
                if result == '0':
                    result += ', ' + get(fd, level, number, name, 512)
                    fresh = False
                out(state, f'set {name} to {key}', result)
            if state in THOROUGH:
                out(state, f'set {name} from nowhere', set_(fd, level, number, NOWHERE, 4))
                out(state, f'set {name} to length -1', set_(fd, level, number, VALUES['1'], -1))
                out(state, f'get {name} nowhere', call('getsockopt', fd, level, number, NOWHERE, ctypes.byref(ctypes.c_int32(4))))
                out(state, f'get {name} without length', call('getsockopt', fd, level, number, ctypes.create_string_buffer(8), None))
            if not fresh:
                s.close(); s = in_state(state)
        s.close(); sweep()

NOWHERE = ctypes.c_void_p(8)
ask_options(sys.argv[4].split(',') if len(sys.argv) > 4 else STATES)
