#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Handshakes made by hand, from a machine on the path between two hosts.

forge.py capture DEVICE FILE          writes the identity options of the next handshake that passes:
                                      a line `claim HEX` and a line `proof HEX`
forge.py dial DEVICE SOURCE ADDRESS PORT [claim=HEX] [proof=HEX]
                                      SYN with that option, ACK and a byte of data with the other;
                                      prints `dropped` (no SYN-ACK), `reset`, `closed` (an end and
                                      nothing before it), `silent` (no answer to the data) or
                                      `answered`
forge.py flood DEVICE SOURCE ADDRESS PORT COUNT claim=HEX
                                      that many SYNs with that option, and nothing after them
Bytes are as on the wire, kind and length included. Needs root. The kernel of this machine knows
nothing of the connection: its resets must be kept from the device (nft).
"""
import random
import socket
import struct
import sys
import time

from internet import checksum

KIND, ETH_IP, TCP, FLAG_FIN, FLAG_SYN, FLAG_RST, FLAG_ACK = 253, 0x0800, 6, 1, 2, 4, 16
SECONDS = 3.0


def packets(sock, until):
    """(source, destination, tcp header and payload) of IPv4 TCP packets."""
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            frame = sock.recv(65535)
        except socket.timeout:
            return
        if struct.unpack_from("!H", frame, 12)[0] != ETH_IP or frame[14 + 9] != TCP:
            continue
        head = (frame[14] & 15) * 4
        yield frame[26:30], frame[30:34], frame[14 + head:]


def option_of(tcp):
    options = tcp[20:(tcp[12] >> 4) * 4]
    at = 0
    while at + 1 < len(options):
        kind, size = options[at], options[at + 1]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if kind == KIND:
            return options[at:at + size]
        at += max(size, 2)
    return b""


def listen(device):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_IP))
    sock.bind((device, 0))
    return sock


def capture(device, file):
    found = {}
    print("ready", flush=True)
    for _, _, tcp in packets(listen(device), time.monotonic() + 60):
        option = option_of(tcp)
        if tcp[13] & FLAG_SYN and not tcp[13] & FLAG_ACK and option:
            found["claim"] = option
        elif len(option) == 28:
            found["proof"] = option
            break
    with open(file, "w", encoding="ascii") as out:
        for name, option in found.items():
            out.write(f"{name} {option.hex()}\n")


class Dial:
    def __init__(self, device, source, address, port):
        self.sniffer = listen(device)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, TCP)
        self.ends = socket.inet_aton(source), socket.inet_aton(address)
        self.address = address
        self.ports = random.randrange(30000, 60000), port

    def send(self, seq, ack, flags, option, data=b""):
        option += b"\1" * (-len(option) % 4)
        size = 20 + len(option)
        head = struct.pack("!HHIIBBHHH", *self.ports, seq, ack, size // 4 << 4, flags, 64000, 0, 0)
        pseudo = b"".join(self.ends) + struct.pack("!BBH", 0, TCP, size + len(data))
        total = checksum(pseudo + head + option + data)
        head = head[:16] + struct.pack("!H", total) + head[18:]
        self.sender.sendto(head + option + data, (self.address, 0))

    def answers(self):
        """Segments of the other end."""
        for source, _, tcp in packets(self.sniffer, time.monotonic() + SECONDS):
            if source == self.ends[1] and struct.unpack_from("!HH", tcp) == self.ports[::-1]:
                yield tcp

    def flood(self, count, claim):
        for _ in range(count):
            self.ports = random.randrange(1024, 65535), self.ports[1]
            self.send(random.randrange(1 << 32), 0, FLAG_SYN, b"\x02\x04\x05\xb4" + claim)

    def run(self, claim, proof):
        seq = random.randrange(1 << 31)
        mss = b"\x02\x04\x05\xb4"
        self.send(seq, 0, FLAG_SYN, mss + claim)
        for tcp in self.answers():
            if tcp[13] & FLAG_RST:
                return "reset"
            server = struct.unpack_from("!I", tcp, 4)[0]
            break
        else:
            return "dropped"
        for data in (b"", b"x"):
            self.send(seq + 1, (server + 1) & 0xFFFFFFFF, FLAG_ACK, proof, data)
        for tcp in self.answers():
            if tcp[13] & FLAG_RST:
                return "reset"
            if len(tcp) > (tcp[12] >> 4) * 4:
                return "answered"
            if tcp[13] & FLAG_FIN:
                return "closed"
        return "silent"


def main(args):
    if args[0] == "capture":
        capture(*args[1:])
        return
    dial = Dial(args[1], args[2], args[3], int(args[4]))
    if args[0] == "flood":
        dial.flood(int(args[5]), bytes.fromhex(args[6].split("=")[1]))
        return
    options = dict(word.split("=") for word in args[5:])
    print(dial.run(bytes.fromhex(options.get("claim", "")),
                   bytes.fromhex(options.get("proof", ""))))


main(sys.argv[1:])
