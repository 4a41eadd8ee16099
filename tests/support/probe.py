#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One network act with its errno and its duration, or a server to act upon.

probe.py [OPTION...] tcp|fastopen|udp|udp-connected|udp-send HOST PORT
probe.py [OPTION...] udp-elsewhere HOST PORT HOST2 PORT2  connected to the first, sent to the second
probe.py [OPTION...] many "ACT HOST PORT" ...             one line each
probe.py serve tcp|udp HOST PORT ...                      echoes; more PROTOCOL HOST PORT may follow
probe.py wait-then FIFO ACT HOST PORT                     the act each time FIFO is written to
Options: --timeout SECONDS, --from ADDRESS

Acts print `ok 0.21 ms` or `EPERM 0.05 ms` (milliseconds of the call itself) and exit 0 or 1. An act
is ok only if an answer came back through it (but udp-send and udp-elsewhere, which only send).
"""
import errno
import sys
import time

# What `socket` is made of: that module names every constant anew when it is imported, most of what
# a short act would do, and on an emulated processor most of a second.
import _socket

TIMEOUT = 5.0
SOURCE = ""


def family_of(host):
    return _socket.AF_INET6 if ":" in host else _socket.AF_INET


def client(host, kind):
    sock = _socket.socket(family_of(host), kind)
    if SOURCE:
        sock.bind((SOURCE, 0))
    sock.settimeout(TIMEOUT)
    return sock


def report(act, *args):
    start = time.monotonic()
    try:
        took = act(*args)
    except TimeoutError:
        print(f"timeout {(time.monotonic() - start) * 1000:.2f} ms")
        return 1
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error.errno))
        print(f"{name} {(time.monotonic() - start) * 1000:.2f} ms")
        return 1
    print(f"ok {took * 1000:.2f} ms")
    return 0


def answered(sock, start):
    if not sock.recv(64):
        raise ConnectionResetError(errno.ECONNRESET, "closed")
    return time.monotonic() - start


def tcp(host, port):
    sock = client(host, _socket.SOCK_STREAM)
    start = time.monotonic()
    sock.connect((host, int(port)))
    took = time.monotonic() - start
    sock.sendall(b"PING\r\n")
    answered(sock, start)
    return took


def fastopen(host, port):
    sock = client(host, _socket.SOCK_STREAM)
    # Without a cookie it connects first, which a socket that does not block would not wait for.
    sock.settimeout(None)
    import struct

    limit = struct.pack("ll", int(TIMEOUT), 0)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, limit)
    start = time.monotonic()
    sock.sendto(b"PING\r\n", _socket.MSG_FASTOPEN, (host, int(port)))
    return answered(sock, start)


def udp(host, port):
    sock = client(host, _socket.SOCK_DGRAM)
    start = time.monotonic()
    sock.sendto(b"PING\r\n", (host, int(port)))
    return answered(sock, start)


def udp_connected(host, port):
    sock = client(host, _socket.SOCK_DGRAM)
    start = time.monotonic()
    sock.connect((host, int(port)))
    sock.send(b"PING\r\n")
    return answered(sock, start)


def udp_elsewhere(host, port, host2, port2):
    sock = client(host, _socket.SOCK_DGRAM)
    sock.connect((host, int(port)))
    sock.send(b"PING\r\n")
    answered(sock, 0)
    start = time.monotonic()
    sock.sendto(b"PING\r\n", (host2, int(port2)))
    # The answer comes from elsewhere and a connected socket does not take it; sent is enough.
    return time.monotonic() - start


def send_now(host, port):
    """A datagram that nobody has to answer."""
    sock = client(host, _socket.SOCK_DGRAM)
    start = time.monotonic()
    sock.sendto(b"PING\r\n", (host, int(port)))
    return time.monotonic() - start


ACTS = {
    "tcp": tcp,
    "fastopen": fastopen,
    "udp": udp,
    "udp-connected": udp_connected,
    "udp-elsewhere": udp_elsewhere,
    "udp-send": send_now,
}


def listen(protocol, host, port):
    import socket

    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family_of(host), kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, int(port)))
    if protocol == "tcp":
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        except OSError:
            pass
        sock.listen(64)
    sock.setblocking(False)
    return sock


def serve(*args):
    import selectors

    selector = selectors.DefaultSelector()
    for at in range(0, len(args), 3):
        protocol = args[at]
        selector.register(listen(*args[at : at + 3]), selectors.EVENT_READ, protocol)
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            if key.data == "tcp":
                peer, _ = sock.accept()
                selector.register(peer, selectors.EVENT_READ, "peer")
                continue
            try:
                if key.data == "udp":
                    data, address = sock.recvfrom(2048)
                    sock.sendto(data, address)
                    continue
                data = sock.recv(2048)
                if data:
                    sock.sendall(data)
                    continue
            except OSError as error:
                print(f"server: {error}", flush=True)
                if key.data == "udp":
                    continue
            selector.unregister(sock)
            sock.close()


def wait_then(fifo, *args):
    while True:
        with open(fifo, encoding="ascii") as trigger:
            where = trigger.readline().strip()
        code = report(ACTS[args[0]], *args[1:])
        sys.stdout.flush()
        if where:
            with open(where, "w", encoding="ascii") as answer:
                answer.write(f"{code}\n")


def main():
    global TIMEOUT, SOURCE
    args = sys.argv[1:]
    while args and args[0] in ("--timeout", "--from"):
        if args[0] == "--timeout":
            TIMEOUT = float(args[1])
        else:
            SOURCE = args[1]
        args = args[2:]
    if not args or args[0] in ("-h", "--help"):
        print(__doc__)
        return 2
    if args[0] == "serve":
        return serve(*args[1:])
    if args[0] == "wait-then":
        return wait_then(*args[1:])
    if args[0] == "many":
        acts = [text.split() for text in args[1:]]
        return max([report(ACTS[act[0]], *act[1:]) for act in acts])
    return report(ACTS[args[0]], *args[1:])


if __name__ == "__main__":
    sys.exit(main())
