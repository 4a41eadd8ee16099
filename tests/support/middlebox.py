#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A machine on the path that does to TCP what machines on paths do. Frames go from one device to the
other; needs root and IPv4.

middlebox.py FILE DEVICE DEVICE     FILE holds the mode, and may change at any time:
  pass     nothing is changed
  strip    the identity option becomes no-operations
  isn      both ends' sequence numbers are shifted, as by a firewall that draws them anew
  lossy    of each connection the first SYN, the first SYN-ACK and the first bare ACK are lost
  cross    SYNs are held until both ends have sent one: simultaneous open
  deaf     SYN-ACKs are lost
"""
import select
import socket
import struct
import sys

from internet import checksum

KIND, ETH_IP, TCP, SYN, RST, ACK = 253, 0x0800, 6, 2, 4, 16
SHIFT = 0x12345678, 0x9ABCDEF0
OUTGOING = 4


def strip(tcp):
    end, at = (tcp[12] >> 4) * 4, 20
    while at + 1 < end and tcp[at]:
        if tcp[at] == 1:
            at += 1
            continue
        size = max(tcp[at + 1], 2)
        if tcp[at] == KIND:
            tcp[at:at + size] = b"\1" * size
        at += size


def shift(tcp, side):
    seq, ack = struct.unpack_from("!II", tcp, 4)
    seq += SHIFT[side]
    if tcp[13] & ACK:
        ack -= SHIFT[1 - side]
    struct.pack_into("!II", tcp, 4, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF)


class Middlebox:
    def __init__(self, file, devices):
        self.file = file
        self.lost = set()
        self.held = {}
        self.sockets = []
        for device in devices:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            sock.bind((device, 0))
            self.sockets.append(sock)

    def mode(self):
        with open(self.file, encoding="ascii") as file:
            return file.read().strip()

    def is_lost(self, frame, tcp):
        kind = tcp[13] & (SYN | RST | ACK)
        if kind & RST or (kind == ACK and len(tcp) > (tcp[12] >> 4) * 4):
            return False
        first = (bytes(frame[26:34]), bytes(tcp[:4]), kind) not in self.lost
        self.lost.add((bytes(frame[26:34]), bytes(tcp[:4]), kind))
        return first

    def released(self, frame, tcp, side):
        if tcp[13] & (SYN | ACK) != SYN:
            return [(side, frame)]
        self.held[side] = frame
        if len(self.held) < 2:
            return []
        both, self.held = list(self.held.items()), {}
        return both

    def handle(self, side, frame):
        """(side it came from, frame) of what goes on."""
        if struct.unpack_from("!H", frame, 12)[0] != ETH_IP or frame[23] != TCP:
            return [(side, frame)]
        start = 14 + (frame[14] & 15) * 4
        tcp = frame[start:14 + struct.unpack_from("!H", frame, 16)[0]]
        mode = self.mode()
        if mode == "strip":
            strip(tcp)
        elif mode == "isn":
            shift(tcp, side)
        elif mode == "lossy" and self.is_lost(frame, tcp):
            return []
        elif mode == "deaf" and tcp[13] & (SYN | ACK) == SYN | ACK:
            return []
        # Between virtual devices the sum is left for hardware that is not there.
        tcp[16:18] = b"\0\0"
        pseudo = bytes(frame[26:34]) + struct.pack("!BBH", 0, TCP, len(tcp))
        tcp[16:18] = struct.pack("!H", checksum(pseudo + bytes(tcp)))
        frame = frame[:start] + tcp
        return self.released(frame, tcp, side) if mode == "cross" else [(side, frame)]

    def run(self):
        print("ready", flush=True)
        while True:
            for sock in select.select(self.sockets, [], [])[0]:
                frame, address = sock.recvfrom(65535)
                if address[2] == OUTGOING:
                    continue
                for side, out in self.handle(self.sockets.index(sock), bytearray(frame)):
                    self.sockets[1 - side].send(out)


Middlebox(sys.argv[1], sys.argv[2:4]).run()
