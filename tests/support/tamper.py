# SPDX-License-Identifier: Apache-2.0
"""What root tries against mseg, where no tool of Debian does just that. Prints `done` or the errno.
tamper.py attach PID | memory PID | load | extend PIN | write FILE | traced COMMAND..."""

import ctypes
import errno
import os
import platform
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
PROG_LOAD, OBJ_GET = 5, 7
SOCKET_FILTER, EXT = 1, 28
PTRACE_TRACEME, PTRACE_CONT, PTRACE_ATTACH = 0, 7, 16


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def bpf(command, attr):
    area = ctypes.create_string_buffer(attr.ljust(128, b"\0"))
    return checked(LIBC.syscall(BPF, command, area, 128))


def attach(pid):
    checked(LIBC.ptrace(PTRACE_ATTACH, int(pid), 0, 0))


def memory(pid):
    os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))


def load(kind=SOCKET_FILTER, onto=0):
    code = ctypes.create_string_buffer(bytes([0xb7]) + bytes(7) + bytes([0x95]) + bytes(7))
    text = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(text))
    os.close(bpf(PROG_LOAD, head.ljust(112, b"\0") + struct.pack("=I", onto)))


def extend(pin):
    path = ctypes.create_string_buffer(pin.encode())
    load(EXT, bpf(OBJ_GET, struct.pack("=Q", ctypes.addressof(path))))


def write(path):
    os.close(os.open(path, os.O_WRONLY))


def traced(*command):
    """Runs a command under a tracer from its first instruction on; its exit status."""
    child = os.fork()
    if child == 0:
        LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0)
        os.execvp(command[0], command)
    while True:
        status = os.waitpid(child, 0)[1]
        if not os.WIFSTOPPED(status):
            sys.exit(os.waitstatus_to_exitcode(status))
        signal = os.WSTOPSIG(status)
        LIBC.ptrace(PTRACE_CONT, child, 0, 0 if signal == 5 else signal)


def main():
    acts = {"attach": attach, "memory": memory, "load": load, "extend": extend, "write": write,
            "traced": traced}
    try:
        acts[sys.argv[1]](*sys.argv[2:])
        print("done")
    except OSError as error:
        print(errno.errorcode[error.errno])


main()
