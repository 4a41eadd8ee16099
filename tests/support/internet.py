# SPDX-License-Identifier: Apache-2.0
"""What those who write packets by hand share."""
import struct


def checksum(data):
    """The Internet checksum (RFC 1071) of bytes, as a number."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
