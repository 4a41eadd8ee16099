#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Datagrams that carry an identity (udp_trailer.h), by hand.

datagram.py serve FILE HOST PORT ...       echoes; a line for each datagram in FILE: PORT PAYLOAD-AS-HEX
datagram.py first HOST PORT                connects its socket to whoever comes first; echoes
datagram.py ask HOST PORT SOURCE-PORT      status 0 if the echo comes within a second
datagram.py sizes HOST PORT SIZE ...       sends one of each size and waits for its echo; prints the
                                           sizes that had none
datagram.py parts HOST PORT SIZE ...       the same, each datagram written in two parts
datagram.py stay connected|free HOST PORT FIFO
                                           one socket: a datagram for each line of FIFO; prints its
                                           port, then what comes back, a line each
datagram.py capture DEVICE FILE            the next one that passes, from its IP header on, as hex
datagram.py send DEVICE HEX [CHANGE]...    sends it to whoever is behind DEVICE
datagram.py txcsum DEVICE 0|1              who makes checksums: the sender itself, or the device
Changes: source=ADDRESS destination=ADDRESS source_port=N port=N payload=HEX
         host=N sequence=N (or +N) answer=1     a field of the trailer
         key=HEX       the MAC is made anew, under this key, after all of the above
         flip=N:XOR    a byte of the trailer, after that; its check is made anew, unless it is that
         reroute=N     another port, after that
         pad=N         the byte before the trailer (of a datagram of odd length)
         plain=1       without a trailer
         fragment=1    in two fragments (IPv4)
Needs root, but for `serve`, `first`, `ask`, `sizes` and `parts`.
"""
import fcntl
import ipaddress
import socket
import struct
import sys
import threading
import time

TRAILER, KIND, UDP = 38, 127, 17
IN_PARTS = sys.argv[1] == "parts"
MASK = (1 << 64) - 1


def ones_sum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def siphash(key, words):
    def rotate(word, bits):
        return (word << bits | word >> (64 - bits)) & MASK

    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D,
         k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def rounds(count):
        for _ in range(count):
            v[0] = (v[0] + v[1]) & MASK
            v[1] = rotate(v[1], 13) ^ v[0]
            v[0] = rotate(v[0], 32)
            v[2] = (v[2] + v[3]) & MASK
            v[3] = rotate(v[3], 16) ^ v[2]
            v[0] = (v[0] + v[3]) & MASK
            v[3] = rotate(v[3], 21) ^ v[0]
            v[2] = (v[2] + v[1]) & MASK
            v[1] = rotate(v[1], 17) ^ v[2]
            v[2] = rotate(v[2], 32)

    for word in words:
        v[3] ^= word
        rounds(2)
        v[0] ^= word
    v[2] ^= 0xFF
    rounds(4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


class Datagram:
    def __init__(self, packet):
        self.v4 = packet[0] >> 4 == 4
        if self.v4:
            head, total = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
            self.ends = [packet[12:16], packet[16:20]]
        else:
            head, total = 40, 40 + struct.unpack_from("!H", packet, 4)[0]
            self.ends = [packet[8:24], packet[24:40]]
        ports = struct.unpack_from("!HHH", packet, head)
        self.ports = list(ports[:2])
        self.payload = packet[head + 8:head + ports[2]]
        end = head + ports[2]
        self.trailer = bytearray(packet[end + ports[2] % 2:total])
        self.pad = 0
        self.fragment = False

    def is_signed(self):
        return len(self.trailer) == TRAILER and self.trailer[2] == KIND

    def set_field(self, name, value):
        at, size = {"host": (7, 3), "sequence": (22, 8)}[name]
        was = int.from_bytes(self.trailer[at:at + size], "big")
        number = was + int(value) if value.startswith("+") else int(value, 0)
        self.trailer[at:at + size] = number.to_bytes(size, "big")

    def sign(self, key):
        answer = self.trailer[22] & 0x80
        port = self.ports[0 if answer else 1]
        words = [port << 32 | len(self.payload) + 8]
        words += [int.from_bytes(self.trailer[at:at + 8], "big") for at in (6, 14, 22)]
        padded = self.payload + b"\0" * (-len(self.payload) % 8)
        words += struct.unpack(f"<{len(padded) // 8}Q", padded)
        words.append((32 + len(self.payload)) % 256 << 56 | 3)
        self.trailer[30:38] = siphash(key, words).to_bytes(8, "big")

    def change(self, name, value):
        if name in ("source", "destination"):
            self.ends[name == "destination"] = ipaddress.ip_address(value).packed
        elif name in ("source_port", "port", "reroute"):
            self.ports[name != "source_port"] = int(value)
        elif name == "payload":
            self.payload = bytes.fromhex(value)
        elif name == "answer":
            self.trailer[22] |= 0x80
        elif name == "key":
            self.sign(bytes.fromhex(value))
        elif name == "plain":
            self.trailer = bytearray()
        elif name == "pad":
            self.pad = int(value)
        elif name == "fragment":
            self.fragment = True
        elif name == "flip":
            at, bits = value.split(":")
            self.check()
            self.trailer[int(at)] ^= int(bits, 0)
            if int(at) > 1:
                self.check()
        else:
            self.set_field(name, value)

    def check(self):
        self.trailer[0:2] = b"\0\0"
        length = TRAILER + len(self.payload) % 2
        value = ~(ones_sum(bytes(self.trailer) + struct.pack("!H", length))) & 0xFFFF
        self.trailer[0:2] = struct.pack("!H", value or 0xFFFF)

    def behind_ip(self):
        length = 8 + len(self.payload)
        udp = struct.pack("!HHHH", *self.ports, length, 0) + self.payload
        pseudo = b"".join(self.ends) + struct.pack("!HH", UDP, length)
        udp = udp[:6] + struct.pack("!H", ~ones_sum(pseudo + udp) & 0xFFFF or 0xFFFF) + udp[8:]
        if self.trailer:
            udp += bytes([self.pad]) * (length % 2) + bytes(self.trailer)
        return udp

    def with_ip(self, body, place=0):
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, place, 64, UDP, 0)
        head += b"".join(self.ends)
        return head[:10] + struct.pack("!H", ~ones_sum(head) & 0xFFFF) + head[12:] + body

    def packets(self):
        body = self.behind_ip()
        if not self.v4:
            return [struct.pack("!IHBB", 6 << 28, len(body), UDP, 64) + b"".join(self.ends) + body]
        if self.fragment:
            return [self.with_ip(body[:16], 0x2000), self.with_ip(body[16:], 2)]
        return [self.with_ip(body)]


def send(device, text, *changes):
    datagram = Datagram(bytes.fromhex(text))
    changes = [word.split("=", 1) for word in changes]
    order = {"key": 1, "flip": 2, "reroute": 2, "plain": 3}
    signed = datagram.is_signed()
    for name, value in sorted(changes, key=lambda change: order.get(change[0], 0)):
        datagram.change(name, value)
        if name == "key":
            datagram.check()
    if signed and datagram.trailer and not any(name in ("key", "flip") for name, _ in changes):
        datagram.check()
    family = socket.AF_INET if datagram.v4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if not datagram.v4:
        sock.setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
    to = str(ipaddress.ip_address(datagram.ends[1]))
    for packet in datagram.packets():
        sock.sendto(packet, (to, 0))


def capture(device, file):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    sock.bind((device, 0))
    print("ready", flush=True)
    while True:
        packet, address = sock.recvfrom(65535)
        udp = packet[0] >> 4 == 4 and packet[9] == UDP or packet[0] >> 4 == 6 and packet[6] == UDP
        if not udp or address[2] == socket.PACKET_OUTGOING:
            continue
        if Datagram(packet).is_signed():
            break
    with open(file, "w", encoding="ascii") as out:
        out.write(packet.hex())


def bound(host, port):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, int(port)))
    return sock


def echo(sock, file, port):
    while True:
        data, peer = sock.recvfrom(65535)
        with open(file, "a", encoding="ascii") as out:
            out.write(f"{port} {data.hex()}\n")
        try:
            sock.sendto(data, peer)
        except OSError as error:
            print(error, flush=True)


def serve(file, *ends):
    socks = [(bound(host, port), port) for host, port in zip(ends[::2], ends[1::2])]
    for sock, port in socks[1:]:
        threading.Thread(target=echo, args=(sock, file, port), daemon=True).start()
    echo(socks[0][0], file, socks[0][1])


def first(host, port):
    sock = bound(host, port)
    data, peer = sock.recvfrom(65535)
    sock.connect(peer)
    while True:
        try:
            sock.send(data)
            data = sock.recv(65535)
        except OSError as error:  # its peer went, and will be back
            print(error, flush=True)
            data = sock.recv(65535)


def ask(host, port, source_port):
    sock = bound("0.0.0.0", source_port)
    sock.settimeout(1)
    sock.sendto(b"asked", (host, int(port)))
    try:
        sock.recv(65535)
    except TimeoutError:
        sys.exit("no answer")


def sizes(host, port, *wanted):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(3)
    for size in map(int, wanted):
        data = bytes(i * 7 & 255 for i in range(size))
        if IN_PARTS:
            sock.sendto(data[:size // 3], socket.MSG_MORE, (host, int(port)))
        sock.sendto(data[size // 3 if IN_PARTS else 0:], (host, int(port)))
        try:
            if sock.recv(65535) != data:
                print(size, "came back changed")
        except TimeoutError:
            print(size)


def stay(how, host, port, fifo):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    if how == "connected":
        sock.connect((host, int(port)))

    def hear():
        while True:
            try:
                print("got", sock.recv(65535).decode("ascii", "replace"), flush=True)
            except OSError as error:
                print("error", error.errno, flush=True)
                time.sleep(0.1)

    with open(fifo, encoding="ascii") as lines:
        for number, line in enumerate(lines):
            data = line.strip().encode()
            sock.send(data) if how == "connected" else sock.sendto(data, (host, int(port)))
            if number == 0:
                print("port", sock.getsockname()[1], flush=True)
                threading.Thread(target=hear, daemon=True).start()


def txcsum(device, on):
    value = struct.pack("II", 0x17, int(on))  # ETHTOOL_STXCSUM
    import array

    buffer = array.array("B", value)
    request = struct.pack("16sP", device.encode(), buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8946, request)  # SIOCETHTOOL


ACTS = {"serve": serve, "first": first, "ask": ask, "sizes": sizes, "parts": sizes, "stay": stay,
        "capture": capture, "send": send, "txcsum": txcsum}
ACTS[sys.argv[1]](*sys.argv[2:])
