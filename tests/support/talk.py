#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Conversations that are more than a request and an answer.

talk.py serve [--reuseport] [--banner] HOST PORT ...   more HOST PORT may follow
talk.py ACT HOST PORT [--from ADDRESS[:PORT]]
  echo      a line there and back
  banner    the server speaks first
  half      the client ends its side, then the server answers
  bye       the server closes first
  mptcp     `echo` over MPTCP
  cross     both ends connect, to each other
  mss       `echo`, and how long a segment may be
  crowd     so many UDP sockets, one after the other, that every record of one opened before gives way
  storm     `echo` for a minute, each on a connection of its own, no more than there are ports for;
            how many there were
Prints what came of it: `ok`, or the error's name and milliseconds; exits 0 or 1.
"""
import errno
import socket
import sys
import threading
import time

MPTCP = 262
TIMEOUT = 15.0
STORM_RATE = 400  # connections a second
RECORDS, COOKIES = 65536, 4096  # MSEG_SLOTS_MIN, MSEG_COOKIE_BATCH


def converse(sock, banner):
    with sock:
        if banner:
            sock.sendall(b"welcome\n")
        data = sock.recv(64)
        if data.startswith(b"half"):
            while sock.recv(64):
                pass
            sock.sendall(b"half\n")
        elif data.startswith(b"bye"):
            sock.sendall(b"bye\n")
        else:
            while data:
                sock.sendall(data)
                data = sock.recv(64)


def accept_all(listener, banner):
    def quietly(sock):
        try:
            converse(sock, banner)
        except OSError as error:
            print(f"server: {error}", flush=True)

    while True:
        sock, _ = listener.accept()
        threading.Thread(target=quietly, args=(sock,), daemon=True).start()


def serve(args):
    places = [arg for arg in args if not arg.startswith("--")]
    threads = []
    for host, port in zip(places[::2], places[1::2]):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if "--reuseport" in args:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, int(port)))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        listener.listen(512)
        threads.append(threading.Thread(target=accept_all, args=(listener, "--banner" in args)))
        threads[-1].start()


def client(source, protocol=0):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    sock.settimeout(TIMEOUT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if source:
        address, _, port = source.partition(":")
        sock.bind((address, int(port or 0)))
    return sock


def expect(sock, what):
    got = b""
    while len(got) < len(what):
        data = sock.recv(64)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "closed")
        got += data
    if got != what:
        raise OSError(errno.EPROTO, f"got {got}")


def echo(sock):
    sock.sendall(b"echo\n")
    expect(sock, b"echo\n")


def act(name, where, source):
    if name == "storm":
        done, begin = 0, time.monotonic()
        while time.monotonic() < begin + 60:
            # A port waits a minute after its connection, and the kernel has 28,232 of them.
            time.sleep(max(0.0, begin + done / STORM_RATE - time.monotonic()))
            with client(source) as sock:
                sock.connect(where)
                echo(sock)
            done += 1
        return str(done)
    if name == "crowd":
        with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
            last = int(file.read().strip().rpartition("-")[2])
        # Of the records there are twice as many as cookies in hand, at least.
        for _ in range(max(5 * RECORDS // 2, 5 * COOKIES * (last + 1))):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(where)
        return "ok"
    with client(source, MPTCP if name == "mptcp" else 0) as sock:
        sock.connect(where)
        if name == "banner":
            expect(sock, b"welcome\n")
        elif name == "half":
            sock.sendall(b"half\n")
            sock.shutdown(socket.SHUT_WR)
            expect(sock, b"half\n")
        elif name == "bye":
            sock.sendall(b"bye\n")
            expect(sock, b"bye\n")
            if sock.recv(1):
                raise OSError(errno.EPROTO, "more than asked for")
        elif name == "cross":
            sock.sendall(b"here\n")
            expect(sock, b"here\n")
        else:
            echo(sock)
        if name == "mss":
            return str(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
    return "ok"


def main(args):
    if args[0] == "serve":
        serve(args[1:])
        return 0
    source = args[4] if args[3:4] == ["--from"] else ""
    start = time.monotonic()
    try:
        print(act(args[0], (args[1], int(args[2])), source))
        return 0
    except socket.timeout:
        name = "timeout"
    except OSError as error:
        name = errno.errorcode.get(error.errno, str(error.errno))
    print(f"{name} {(time.monotonic() - start) * 1000:.2f} ms")
    return 1


sys.exit(main(sys.argv[1:]))
