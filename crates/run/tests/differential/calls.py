"""Every call on every state."""

def name_of(call_name, room):
    def ask(fd):
        buffer, length = ctypes.create_string_buffer(b'\xee' * 64, 64), ctypes.c_int32(room)
        result = call(call_name, fd, buffer, ctypes.byref(length))
        told = named(buffer.raw[:max(0, min(room, length.value))]) if result == '0' else ''
        return f'{result} {length.value} {told}'.rstrip()
    return ask

def accepts(flags, room, call_name='accept4'):
    def accept(fd):
        buffer, length = ctypes.create_string_buffer(64), ctypes.c_int32(room or 0)
        where = (None, None) if room is None else (buffer, ctypes.byref(length))
        result = call(call_name, fd, *where, *([flags] if call_name == 'accept4' else []))
        if not result.isdigit(): return result
        s = socket(fileno=int(result)); kept.append(s)
        what = [s.getsockopt(SOL_SOCKET, SO_TYPE) == SOCK_STREAM, os.get_blocking(s.fileno()), os.get_inheritable(s.fileno())]
        return f"a socket {what} {'' if room is None else named(buffer.raw[:min(room, length.value)])}".rstrip()
    return accept

def receives(size, flags, call_name='recv', room=None):
    def receive(fd):
        data, name, length = ctypes.create_string_buffer(64), ctypes.create_string_buffer(b'\xee' * 64, 64), ctypes.c_int32(room or 0)
        if call_name == 'recv': result = call('recv', fd, data, size, flags)
        elif call_name == 'read': result = call('read', fd, data, size)
        else:
            result = call('recvfrom', fd, data, size, flags, name, ctypes.byref(length))
            return f"{result} {data.raw[:int(result)] if result.isdigit() else ''} {length.value} {named(name.raw[:4])}"
        return f"{result} {data.raw[:size] if result.isdigit() and result != '0' else ''}".rstrip()
    return receive

class Msghdr(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('namelen', ctypes.c_uint32), ('iov', ctypes.c_void_p), ('iovlen', ctypes.c_size_t),
                ('control', ctypes.c_void_p), ('controllen', ctypes.c_size_t), ('flags', ctypes.c_int)]

def message(call_name, flags, name=b'', data=b'x'):
    def do(fd):
        to, text = ctypes.create_string_buffer(name, 64), ctypes.create_string_buffer(data, 64)
        piece = struct.pack('QQ', ctypes.addressof(text), len(data)); piece = ctypes.create_string_buffer(piece, 16)
        header = Msghdr(ctypes.addressof(to) if name else None, len(name), ctypes.addressof(piece), 1, None, 0, 0)
        result = call(call_name, fd, ctypes.byref(header), flags)
        if call_name == 'sendmsg': return result
        return f'{result} {header.namelen} {header.flags}' if result.isdigit() else result
    return do

def sends(data, flags, to=None):
    if to is None: return lambda fd: call('send', fd, data, len(data), flags)
    return lambda fd: call('sendto', fd, data, len(data), flags, to, len(to))

def asks(command, argument=None):
    def ask(fd):
        buffer = ctypes.create_string_buffer(argument or b'\xee' * 64, 64)
        result = call('ioctl', fd, ctypes.c_ulong(command), buffer)
        return f'{result} {buffer.raw[:len(argument) if argument else 4].hex()}' if result == '0' else result
    return ask

def by_epoll(flags):
    def ask(fd):
        e = select.epoll(); e.register(fd, ALL | flags)
        # Whether a second look shows an edge again.
        return str([[hex(got) for _, got in e.poll(0)] for _ in range(2)])
    return ask

def by_select(fd):
    return ''.join('rwx'[i] for i, ready in enumerate(select.select([fd], [fd], [fd], 0)) if ready) or 'none'

def with_flag(operation):
    """The same with O_NONBLOCK."""
    def do(fd):
        os.set_blocking(fd, False); return operation(fd)
    return do

def blocking(operation):
    def do(fd):
        os.set_blocking(fd, True)
        return operation(fd)
    return do

def connects(to, length=None):
    return lambda fd: call('connect', fd, to, len(to) if length is None else length)

def binds(to, length=None):
    return lambda fd: call('bind', fd, to, len(to) if length is None else length)

NOWHERE = ctypes.c_void_p(8)
UNSPEC = bytes(16)
TO_PEER = addr(*PEER)
LO = b'lo'.ljust(16, b'\0')

# What changes nothing: asked on one socket.
QUESTIONS = {
    'poll': events,
    'epoll': by_epoll(0), 'epoll edge': by_epoll(select.EPOLLET), 'select': by_select,
    'poll without mask': lambda fd: events(fd, 0),
    'poll in': lambda fd: events(fd, select.POLLIN), 'poll out': lambda fd: events(fd, select.POLLOUT),
    **{f'{name} {room}': name_of(name, room) for name in ('getsockname', 'getpeername') for room in (64, 16, 5, 0, -1)},
    'getsockname nowhere': lambda fd: call('getsockname', fd, NOWHERE, ctypes.byref(ctypes.c_int32(64))),
    'getsockname without length': lambda fd: call('getsockname', fd, ctypes.create_string_buffer(64), None),
    'getpeername nowhere': lambda fd: call('getpeername', fd, NOWHERE, ctypes.byref(ctypes.c_int32(64))),
    'bind nowhere': binds(NOWHERE, 16), 'bind too long': binds(bytes(200)), 'bind length -1': binds(TO_PEER, -1),
    'connect nowhere': connects(NOWHERE, 16), 'connect too long': connects(bytes(200)), 'connect length -1': connects(TO_PEER, -1),
    'shutdown 3': lambda fd: call('shutdown', fd, 3), 'shutdown -1': lambda fd: call('shutdown', fd, -1),
    'accept4 unknown flag': accepts(1, None),
    'send nothing': sends(b'', 0), 'recv nothing': receives(0, MSG_DONTWAIT),
    'send nowhere': lambda fd: call('send', fd, NOWHERE, 1, 0), 'recv nowhere': lambda fd: call('recv', fd, NOWHERE, 1, MSG_DONTWAIT),
    'peek': receives(64, MSG_PEEK | MSG_DONTWAIT), 'recv urgent': receives(1, MSG_OOB | MSG_DONTWAIT),
    'recv errors': receives(1, MSG_ERRQUEUE | MSG_DONTWAIT),
    'recvmsg errors': message('recvmsg', MSG_ERRQUEUE | MSG_DONTWAIT), 'recvmsg urgent': message('recvmsg', MSG_OOB | MSG_DONTWAIT),
    'FIONREAD': asks(0x541b), 'SIOCATMARK': asks(0x8905), 'SIOCOUTQ': asks(0x5411), 'SIOCOUTQNSD': asks(0x894b),
    'SIOCGSTAMP': asks(0x8906), 'SIOCGSTAMPNS': asks(0x8907), 'SIOCGPGRP': asks(0x8904), 'FIOGETOWN': asks(0x8903),
    'SIOCGIFFLAGS': asks(0x8913, LO + bytes(24)), 'SIOCGIFINDEX': asks(0x8933, LO + bytes(24)),
    'SIOCGIFFLAGS of nothing': asks(0x8913, b'none0'.ljust(40, b'\0')), 'SIOCGIFCONF': asks(0x8912, bytes(16)),
    'SIOCGARP': asks(0x8954, bytes(64)), 'SIOCGIFVLAN': asks(0x8982, bytes(64)), 'SIOCPROTOPRIVATE': asks(0x89e0),
    'SIOCGIFNAME nowhere': lambda fd: call('ioctl', fd, ctypes.c_ulong(0x8910), NOWHERE),
    'unknown ioctl': asks(0x89ff), 'TCGETS': asks(0x5401),
    'FIONREAD nowhere': lambda fd: call('ioctl', fd, ctypes.c_ulong(0x541b), NOWHERE),
    'SIOCOUTQ nowhere': lambda fd: call('ioctl', fd, ctypes.c_ulong(0x5411), NOWHERE),
    'file type': lambda fd: oct(os.fstat(fd).st_mode & 0o170000), 'lseek': lambda fd: call('lseek', fd, ctypes.c_long(0), 1),
    'fsync': lambda fd: call('fsync', fd), 'ftruncate': lambda fd: call('ftruncate', fd, ctypes.c_long(0)),
}

# What may change something: each on a fresh socket in that state, and asked afterwards what it shows.
OPERATIONS = {
    'nothing': lambda fd: '',
    'bind any': binds(addr('0.0.0.0', 0)), 'bind host': binds(addr(HOST, 0)), 'bind elsewhere': binds(addr('192.0.2.1', 0)),
    'bind short': binds(addr(HOST, 0)[:15]), 'bind empty': binds(b'', 0), 'bind v6': binds(addr('::', 0, AF_INET6)),
    'bind unix': binds(struct.pack('=H', AF_UNIX) + b'x' * 30), 'bind unspec': binds(UNSPEC),
    'bind unspec address': binds(b'\0\0' + TO_PEER[2:]), 'bind taken': binds(TO_PEER), 'bind broadcast': binds(addr('10.77.0.255', 0)),
    'bind multicast': binds(addr('224.0.0.1', 0)), 'bind v4-mapped': binds(addr('::ffff:' + HOST, 0, AF_INET6)),
    'bind v6 short': binds(addr('::', 0, AF_INET6)[:20]), 'bind v6 without scope': binds(addr('::', 0, AF_INET6)[:24]),
    'bind link-local': binds(addr('fe80::1', 0, AF_INET6)),
    'listen 1': lambda fd: call('listen', fd, 1), 'listen 0': lambda fd: call('listen', fd, 0), 'listen -1': lambda fd: call('listen', fd, -1),
    'accept': accepts(0, None, 'accept'), 'accept named': accepts(0, 64, 'accept'), 'accept4': accepts(SOCK_NONBLOCK | SOCK_CLOEXEC, 16),
    'accept nonblocking': with_flag(accepts(0, None)),
    'connect': connects(TO_PEER), 'connect nonblocking': with_flag(connects(TO_PEER)),
    'connect closed': connects(addr(*CLOSED)), 'connect unspec': connects(UNSPEC), 'connect short': connects(TO_PEER[:15]),
    'connect empty': connects(b'', 0), 'connect unix': connects(struct.pack('=H', AF_UNIX) + b'x' * 30),
    'connect unroutable': connects(addr('192.0.2.1', 80)), 'connect broadcast': connects(addr('255.255.255.255', 80)),
    'connect multicast': connects(addr('224.0.0.1', 80)), 'connect port 0': connects(addr(HOST, 0)),
    'connect silent': blocking(connects(addr(SILENT, 80))), 'connect v6': connects(addr('fd77::1', CLOSED[1], AF_INET6)),
    'connect v6 unroutable': connects(addr('2001:db8::1', 80, AF_INET6)), 'connect v4-mapped': connects(addr('::ffff:' + HOST, PEER[1], AF_INET6)),
    'connect any': connects(addr('0.0.0.0', CLOSED[1])), 'connect subnet broadcast': connects(addr('10.77.0.255', 80)),
    'connect v6 multicast': connects(addr('ff02::1', 80, AF_INET6)),
    'connect closed nonblocking': with_flag(connects(addr('0.0.0.0', CLOSED[1]))) ,
    **{f'shutdown {name}': (lambda how: lambda fd: call('shutdown', fd, how))(how) for how, name in enumerate(['read', 'write', 'both'])},
    'shutdown twice': lambda fd: call('shutdown', fd, 1) + ', ' + call('shutdown', fd, 1),
    'shutdown write, read': lambda fd: call('shutdown', fd, 1) + ', ' + call('shutdown', fd, 0),
    'send': sends(b'x', 0), 'send quietly': sends(b'x', MSG_NOSIGNAL), 'send more': sends(b'x', MSG_MORE), 'send now': sends(b'x', MSG_DONTWAIT),
    'send end of record': sends(b'x', MSG_EOR),
    'send urgent': sends(b'x', MSG_OOB), 'send zerocopy': sends(b'x', 0x4000000), 'send proxy': sends(b'x', MSG_CONFIRM),
    'write': lambda fd: call('write', fd, b'x', 1), 'write nothing': lambda fd: call('write', fd, b'', 0),
    'sendto peer': sends(b'x', 0, TO_PEER), 'sendto elsewhere': sends(b'x', 0, addr('192.0.2.1', 9)), 'sendto short': sends(b'x', 0, TO_PEER[:3]),
    'sendto quietly': sends(b'x', MSG_NOSIGNAL, TO_PEER),
    'fast open': sends(b'x', MSG_FASTOPEN, TO_PEER), 'fast open nowhere': sends(b'x', MSG_FASTOPEN), 'fast open unspec': sends(b'x', MSG_FASTOPEN, UNSPEC),
    'sendmsg': message('sendmsg', 0), 'sendmsg named': message('sendmsg', 0, TO_PEER), 'sendmsg urgent': message('sendmsg', MSG_OOB),
    'recv': receives(64, 0), 'recv nonblocking': with_flag(receives(64, 0)), 'recv all': receives(64, MSG_WAITALL),
    'recv truncated': receives(2, MSG_TRUNC), 'read': receives(64, 0, 'read'),
    'recvfrom': receives(64, 0, 'recvfrom', 64), 'recvfrom now': receives(64, MSG_DONTWAIT, 'recvfrom', 64),
    'recvmsg': message('recvmsg', 0), 'recvmsg named': message('recvmsg', 0, bytes(16)),
    'recv twice': lambda fd: receives(64, 0)(fd) + ', ' + receives(64, 0)(fd),
    'ask for the error': lambda fd: ERRNO.get(socket(fileno=os.dup(fd)).getsockopt(SOL_SOCKET, SO_ERROR), '0'),
    'connect twice': lambda fd: ', '.join(connects(TO_PEER)(fd) for _ in range(2)),
    'connect unspec, connect': lambda fd: connects(UNSPEC)(fd) + ', ' + connects(TO_PEER)(fd),
    'connect unspec, listen': lambda fd: connects(UNSPEC)(fd) + ', ' + call('listen', fd, 1),
    'bind, bind': lambda fd: binds(addr(HOST, 0))(fd) + ', ' + binds(addr(HOST, 0))(fd),
    'listen, connect': lambda fd: call('listen', fd, 1) + ', ' + connects(TO_PEER)(fd),
    'listen, shutdown, listen': lambda fd: ', '.join([call('listen', fd, 1), call('shutdown', fd, 0), call('listen', fd, 1)]),
}

def afterwards(s, state, name):
    """What it shows: events, error, names."""
    yield 'events', events(s)
    yield 'error', ERRNO.get(s.getsockopt(SOL_SOCKET, SO_ERROR), 'none')
    peer, listens = name_of('getpeername', 64)(s.fileno()), s.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)
    yield 'getpeername', peer
    yield 'listens', listens
    # What is left of a name whose connection or listener is gone means nothing.
    idle = state.startswith(('fresh', 'bound')) and 'connect' not in name and 'listen' not in name
    if peer[0] == '0' or listens or idle or name in ('bind any', 'bind host', 'bind, bind'):
        yield 'getsockname', name_of('getsockname', 64)(s.fileno())

# What goes on by itself after these: the peer's answer comes when it comes.
SENDS = {name for name in OPERATIONS if name.startswith(('send', 'write', 'sendmsg', 'fast open', 'shutdown'))}
# What of these counts are remains of a handshake or a FIN, which may have been acknowledged or not.
LEFT_OVER = {(state, name) for name in ('SIOCOUTQ', 'SIOCOUTQNSD')
             for state in ('write shut', 'both shut', 'listener shut', 'refused', 'refused, told', 'refused, blocking', 'disconnected', 'connected mptcp')}
# Both ends have been said: nothing remains but for the peer to acknowledge ours, and a second call may find either.
BY_CHANCE = {(state, name) for state in ('peer closed', 'peer half-closed') for name in ('shutdown twice', 'shutdown write, read')}
LAST_ENDS = {(state, name) for state in ('peer closed', 'peer half-closed') for name in ('shutdown write', 'shutdown both')} | BY_CHANCE
UNSETTLED = {(state, name) for state in ('peer closed', 'read shut') for name in SENDS if (state, name) not in LAST_ENDS}

def ask_all(states):
    for state in states:
        s = in_state(state)
        for name, operation in QUESTIONS.items():
            if (state, name) not in LEFT_OVER: out(state, name, operation(s.fileno()))
        s.close()
        for name, operation in OPERATIONS.items():
            s = in_state(state)
            result = operation(s.fileno())
            if (state, name) not in BY_CHANCE: out(state, name, result)
            # To an end that is the same, where it is on its way.
            if not os.get_blocking(s.fileno()): await_settled(s, state, name)
            if (state, name) in LAST_ENDS: await_the_end(s)
            if (state, name) not in UNSETTLED:
                for what, told in afterwards(s, state, name): out(state, f'{name}, then {what}', told)
            s.close()
        sweep()

def await_settled(s, state, name):
    if state == 'connecting' and name.startswith('shutdown'): await_events(s, select.POLLHUP)
    elif 'connect' in name or 'fast open' in name:
        p = select.poll(); p.register(s, select.POLLOUT); p.poll(20)

def await_the_end(s):
    """Until the end has been acknowledged: a connection that is no more has no peer."""
    until = time.monotonic() + 5
    while name_of('getpeername', 64)(s.fileno())[0] == '0' and time.monotonic() < until: pass

ask_all(sys.argv[4].split(',') if len(sys.argv) > 4 else STATES)
