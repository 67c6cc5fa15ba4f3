"""Sockets in every state that they can be in, and how what calls return is printed.

Each line is `state: operation = result`. Run with: the port of the obedient peer, a port where nobody listens, and what is
to be added to the port of a listener of ours for a connection to come in over the network."""

import ctypes, errno, faulthandler, os, select, signal, socket, struct, sys, time
from socket import *

HOST, SILENT = '10.77.0.1', '10.77.0.99'
PEER, CLOSED, OFFSET = (HOST, int(sys.argv[1])), (HOST, int(sys.argv[2])), int(sys.argv[3])
LIBC = ctypes.CDLL(None, use_errno=True)
ALL = select.POLLIN | select.POLLOUT | select.POLLRDHUP | select.POLLPRI
BITS = [(getattr(select, 'POLL' + name), name) for name in 'IN PRI OUT ERR HUP RDHUP NVAL'.split()]

# The name that sockets know it by.
ERRNO = errno.errorcode | {errno.EOPNOTSUPP: 'EOPNOTSUPP'}

pipes = []
signal.signal(signal.SIGPIPE, lambda *_: pipes.append(1))

def call(name, *arguments):
    """What the call returns, or the name of its errno. SIGPIPE is part of the result."""
    pipes.clear()
    result = getattr(LIBC, name)(*arguments)
    result = ERRNO[ctypes.get_errno()] if result < 0 else str(result)
    return result + ' SIGPIPE' if pipes else result

def out(state, operation, result):
    print(f'{state}: {operation} = {result}')

def events(s, mask=ALL, timeout=0):
    p = select.poll(); p.register(s, mask)
    return '|'.join(name for _, got in p.poll(timeout) for bit, name in BITS if got & bit) or 'none'

def await_events(s, wanted):
    """Until poll shows all of `wanted`. What follows one after the other in the kernel may be seen one by one."""
    p = select.poll(); p.register(s, ALL)
    for _ in range(100_000):
        got = p.poll(5000)
        if got and got[0][1] & wanted == wanted: return s
    raise TimeoutError(events(s))

def await_nothing(s):
    """Until there is neither anything to read nor an end to be seen."""
    while events(s, select.POLLIN) != 'none': pass
    return s

def addr(host, port, family=AF_INET):
    if family == AF_INET: return struct.pack('=H', AF_INET) + struct.pack('!H', port) + inet_aton(host) + bytes(8)
    return struct.pack('=H', AF_INET6) + struct.pack('!HI', port, 0) + inet_pton(AF_INET6, host) + bytes(4)

def named(data):
    """A sockaddr without the port that the kernel has chosen."""
    if len(data) < 4: return data.hex()
    family, port = struct.unpack('=H', data[:2])[0], struct.unpack('!H', data[2:4])[0]
    port = {0: '0', PEER[1]: 'peer', CLOSED[1]: 'closed'}.get(port, 'some')
    if family == AF_INET and len(data) == 16: return f'{inet_ntoa(data[4:8])}:{port}'
    if family == AF_INET6 and len(data) == 28: return f'[{inet_ntop(AF_INET6, data[8:24])}]:{port}'
    return f'{family}/{port}/{data[4:].hex()}'

def nonblocking(*arguments):
    s = limited(socket(*arguments)); s.setblocking(False); return s

def limited(s):
    """Nothing blocks for longer than this."""
    for name in SO_RCVTIMEO, SO_SNDTIMEO: s.setsockopt(SOL_SOCKET, name, struct.pack('ll', 0, 5000))
    return s

def connected(host=HOST, family=AF_INET, protocol=0, command=b''):
    s = socket(family, SOCK_STREAM, protocol); s.connect((host, PEER[1])); s.send(command); return limited(s)

def told(s):
    s.getsockopt(SOL_SOCKET, SO_ERROR); return s

def listening(family=AF_INET):
    s = socket(family); s.bind(('', 0)); s.listen(4); return limited(s)

def incoming(s):
    c = socket(); c.connect((HOST, s.getsockname()[1] + OFFSET)); kept.append(c); return s

def accepted(family=AF_INET):
    s = incoming(listening(family)); kept.append(s); a, _ = s.accept(); return limited(a)

def refused(ask):
    s = nonblocking(); s.connect_ex(CLOSED); await_events(s, select.POLLHUP | select.POLLERR)
    return told(s) if ask else s

def refused_blocking():
    s = limited(socket())
    try: s.connect(CLOSED)
    except OSError: pass
    return s

def connecting():
    s = nonblocking(); s.connect_ex((SILENT, 80)); return s

def just_connected():
    s = nonblocking(); s.connect_ex(PEER); return await_events(s, select.POLLOUT)

def bound(host=HOST, family=AF_INET):
    s = limited(socket(family)); s.bind((host, 0)); return s

def shut(how, s=None):
    s = s or connected(); s.shutdown(how)
    return await_events(s, select.POLLHUP) if how == SHUT_RDWR else s

def disconnected():
    s = connected(); LIBC.connect(s.fileno(), addr('0.0.0.0', 0)[:0] + bytes(16), 16); return s

def ended():
    """Closed by both, in order: we first, then the peer."""
    s = connected(command=b'e'); s.shutdown(SHUT_WR); return await_events(s, select.POLLHUP)

def stopped():
    s = listening(); s.shutdown(SHUT_RD); return s

def loopback():
    s = listening(); c = socket(); c.connect(('127.0.0.1', s.getsockname()[1])); kept.append(s.accept()); return limited(c)

HUNG_UP = select.POLLHUP | select.POLLERR
STATES = {
    'fresh': lambda: limited(socket()),
    'fresh v6': lambda: limited(socket(AF_INET6)),
    'fresh mptcp': lambda: limited(socket(AF_INET, SOCK_STREAM, 262)),
    'bound': bound,
    'bound v6': lambda: bound('::', AF_INET6),
    'listening': listening,
    'listening v6': lambda: listening(AF_INET6),
    'one waits': lambda: await_events(incoming(listening()), select.POLLIN),
    'listener shut': stopped,
    'connecting': connecting,
    'just connected': just_connected,
    'connected': connected,
    'connected v6': lambda: connected('::ffff:' + HOST, AF_INET6),
    'connected mptcp': lambda: connected(protocol=262),
    'connected here': loopback,
    'accepted': accepted,
    'accepted v6': lambda: accepted(AF_INET6),
    'data came': lambda: await_events(connected(command=b'd'), select.POLLIN),
    'write shut': lambda: shut(SHUT_WR),
    'read shut': lambda: shut(SHUT_RD),
    'both shut': lambda: shut(SHUT_RDWR),
    'peer half-closed': lambda: await_events(connected(command=b'h'), select.POLLRDHUP),
    'peer closed': lambda: await_events(connected(command=b'c'), select.POLLRDHUP),
    'both closed': ended,
    'reset': lambda: await_events(connected(command=b'r'), HUNG_UP),
    'reset, told': lambda: told(await_events(connected(command=b'r'), HUNG_UP)),
    'reset after data': lambda: await_events(connected(command=b'R'), HUNG_UP),
    'refused': lambda: refused(False),
    'refused, told': lambda: refused(True),
    'refused, blocking': refused_blocking,
    'disconnected': disconnected,
}

kept = []

def in_state(state):
    # Who hangs is seen.
    faulthandler.dump_traceback_later(60, exit=True)
    return STATES[state]()

def sweep():
    """Lets go of everything that held connections open, here and at the peer."""
    for s in kept: (s[0] if isinstance(s, tuple) else s).close()
    kept.clear()
    with socket() as s: s.connect(PEER); s.send(b's'); s.recv(1)
