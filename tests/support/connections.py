#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps connections open and tells which still work.

connections.py FIFO ACT HOST PORT COUNT SOURCE ...   ACT: tcp, udp (connected), idle (tcp, of which
                                                       nobody answers); SOURCE: an address or `-`
connections.py listen HOST PORT                        listens and never accepts

It opens COUNT connections of each kind, and each must echo. Then, for each line read from FIFO, the
name of a file: everything that is open echoes once more, and the file gets one line for each kind,
`ACT HOST PORT open OF total, last closed at MS` (milliseconds since 1970, 0 for none).
"""
import os
import selectors
import socket
import sys
import time

TIMEOUT = 20.0


class Kind:
    def __init__(self, act, host, port, count, source):
        self.name = f"{act} {host} {port}"
        self.act = act
        self.total = int(count)
        self.closed_at = 0
        self.open = set()
        for _ in range(self.total):
            sock = socket.socket(
                socket.AF_INET6 if ":" in host else socket.AF_INET,
                socket.SOCK_DGRAM if act == "udp" else socket.SOCK_STREAM)
            if source != "-":
                sock.bind((source, 0))
            sock.settimeout(TIMEOUT)
            sock.connect((host, int(port)))
            self.open.add(sock)
            if not self.echoes(sock):
                sys.exit(f"{self.name} does not echo")

    def echoes(self, sock):
        if self.act == "idle":
            return True
        sock.settimeout(TIMEOUT)
        try:
            sock.send(b"PING\r\n")
            return bool(sock.recv(64))
        except OSError as error:
            print(f"{self.name}: {error}", flush=True)
            return False

    def lost(self, sock):
        self.closed_at = int(time.time() * 1000)
        self.open.discard(sock)


def watch(fifo, kinds):
    selector = selectors.DefaultSelector()
    control = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    selector.register(control, selectors.EVENT_READ, None)
    for kind in kinds:
        for sock in kind.open:
            selector.register(sock, selectors.EVENT_READ, kind)

    def lose(kind, sock):
        selector.unregister(sock)
        kind.lost(sock)
        sock.close()

    while True:
        for key, _ in selector.select():
            if key.data is not None:
                # Nobody sends unasked: whatever can be read now is an error or the end.
                lose(key.data, key.fileobj)
                continue
            for name in os.read(control, 4096).decode().split():
                for kind in kinds:
                    for sock in list(kind.open):
                        if not kind.echoes(sock):
                            lose(kind, sock)
                with open(name + ".new", "w", encoding="ascii") as out:
                    for kind in kinds:
                        out.write(f"{kind.name} {len(kind.open)} of {kind.total}, "
                                  f"last closed at {kind.closed_at}\n")
                os.rename(name + ".new", name)


def listen(host, port):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, int(port)))
    sock.listen(64)
    while True:
        time.sleep(3600)


def main():
    args = sys.argv[1:]
    if args and args[0] == "listen":
        return listen(*args[1:])
    if len(args) < 6 or len(args) % 5 != 1:
        print(__doc__)
        return 2
    kinds = [Kind(*args[at : at + 5]) for at in range(1, len(args), 5)]
    print("open", flush=True)
    return watch(args[0], kinds)


if __name__ == "__main__":
    sys.exit(main())
