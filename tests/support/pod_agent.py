# SPDX-License-Identifier: Apache-2.0
"""One pod of the NetworkPolicy test on real sockets: serves, and asks others when told to.

pod_agent.py PORT...: echoes on each port, TCP and UDP, on every address of its namespace; prints
`ready`; then reads lines of JSON, [[PROTOCOL, ADDRESS, PORT], ...], does all of these at once, and
answers each line with a list of `ok`, `timeout` or the name of an errno. Ends with its input.
"""
import errno
import json
import os
import selectors
import socket
import sys
import threading
import time

TIMEOUT = float(os.environ.get("POD_TIMEOUT", "1.0"))


def serve(ports):
    selector = selectors.DefaultSelector()
    for port in ports:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            sock = socket.socket(socket.AF_INET, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("0.0.0.0", port))
            if kind == socket.SOCK_STREAM:
                sock.listen(128)
            selector.register(sock, selectors.EVENT_READ, kind)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                if key.data == socket.SOCK_DGRAM:
                    data, peer = key.fileobj.recvfrom(64)
                    key.fileobj.sendto(data, peer)
                else:
                    connection, _ = key.fileobj.accept()
                    connection.sendall(b"hello")
                    connection.close()
            except OSError:
                pass  # a reply that is refused is the client's timeout


def name_of(error):
    return errno.errorcode.get(error, str(error))


def ask(acts):
    """All acts at once: most of those that are refused by the other end never get an answer."""
    selector = selectors.DefaultSelector()
    results = ["timeout"] * len(acts)
    for place, (protocol, address, port) in enumerate(acts):
        tcp = protocol == "tcp"
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        sock.setblocking(False)
        error = sock.connect_ex((address, port))
        if error == 0 and not tcp:
            try:
                sock.send(b"hello")
            except OSError as refused:
                error = refused.errno
        if error not in (0, errno.EINPROGRESS):
            results[place] = name_of(error)
            sock.close()
            continue
        selector.register(sock, selectors.EVENT_READ, place)
    deadline = time.monotonic() + TIMEOUT
    while selector.get_map() and time.monotonic() < deadline:
        for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
            try:
                results[key.data] = "ok" if key.fileobj.recv(64) else "closed"
            except OSError as refused:
                results[key.data] = name_of(refused.errno)
            selector.unregister(key.fileobj)
            key.fileobj.close()
    for key in list(selector.get_map().values()):
        key.fileobj.close()
    return results


threading.Thread(target=serve, args=([int(port) for port in sys.argv[1:]],), daemon=True).start()
for line in sys.stdin:
    print(json.dumps(ask(json.loads(line))), flush=True)
