# SPDX-License-Identifier: Apache-2.0
"""See unattached.sh. One cgroup and pin directory; the daemon is restarted after each proof and
attaches what is missing."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("MSEG_BIN", ROOT / "build" / "bin"))
LIMIT = 30  # seconds for what should take one
LOAD_LIMIT = 240  # seconds for loading, which an emulated processor takes long for

POLICY = """
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: db}
spec: {labels: {role: db}, match: {cgroup: /db}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: web}
spec: {labels: {role: web}, match: {cgroup: /web}}
---
apiVersion: mseg.io/v1
kind: Workload
metadata: {name: shut}
spec: {labels: {role: shut}, match: {cgroup: /shut}}
---
# Nobody may talk to the database; those who are shut in may talk to nobody.
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: db}
spec: {selects: {labels: {role: db}}, directions: [ingress]}
---
apiVersion: mseg.io/v1
kind: Policy
metadata: {name: shut}
spec: {selects: {labels: {role: shut}}, directions: [egress]}
"""


def cgroup_mount():
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    sys.exit("unattached.sh: no cgroup v2 hierarchy is mounted")


def bpftool():
    found = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return found or sys.exit("unattached.sh: bpftool is not installed; run tools/setup")


def wait_for(question, what, limit=LIMIT):
    end = time.monotonic() + limit
    while not question():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit} s: {what}")
        time.sleep(0.02)


def hook_of(link):
    """Its program; a link in a network namespace has that one's cookie behind it."""
    return re.sub(r"_[0-9]+$", "", link)


class Instance:
    """msegd on a place of its own, with the policy above in force; all of it goes with it."""

    def __init__(self):
        name = f"mseg-prove-{os.getpid()}"
        self.cgroup = cgroup_mount() / name
        self.pins = Path("/sys/fs/bpf") / name
        self.daemon = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def start(self):
        self.dir = Path(tempfile.mkdtemp(prefix="mseg-prove-"))
        if not Path("/dev/net/tun").exists():
            subprocess.run(["/sbin/modprobe", "tun"], check=True)
        for group in ("db", "web", "shut"):
            (self.cgroup / group).mkdir(parents=True)
        self.log = open(self.dir / "log", "wb")
        self.start_daemon()
        policy = POLICY
        if self.full():
            for group in ("db", "shut"):
                policy = policy.replace(f"match: {{cgroup: /{group}}}",
                                        f"match: {{cgroup: /{group}}}, unix: judge")
            policy = policy.replace("/shut}", "/shut}, libraries: trusted")
        (self.dir / "policy.yaml").write_text(policy)
        self.msegctl("policy", "apply", self.dir / "policy.yaml")
        # A hook that only some policies need is attached a moment later.
        wait_for((self.pins / "links" / "mseg_ingress").exists, "the ingress hook is attached")
        self.links = self.pinned()
        unproved = {hook_of(link) for link in self.links} - set(PROOFS)
        if unproved:
            raise RuntimeError(f"no proof for {', '.join(sorted(unproved))}")
        return self

    def msegctl(self, *args):
        done = subprocess.run([BIN / "msegctl", *args],
                              env={**os.environ, "MSEG_SOCKET": str(self.dir / "sock")},
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"msegctl {args[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def start_daemon(self):
        socket_path = self.dir / "sock"
        socket_path.unlink(missing_ok=True)
        self.daemon = subprocess.Popen(
            [BIN / "msegd", "--state-dir", self.dir / "state", "--socket", socket_path,
             "--cgroup-root", self.cgroup, "--bpffs", self.pins],
            stdout=self.log, stderr=self.log, start_new_session=True)
        try:
            wait_for(lambda: socket_path.exists() or self.daemon.poll() is not None,
                     "the daemon answers", LOAD_LIMIT)
            if self.daemon.poll() is not None:
                raise RuntimeError("the daemon ended")
        except (TimeoutError, RuntimeError) as error:
            raise RuntimeError(f"{error}; it says: {(self.dir / 'log').read_text()}") from error

    def running(self):
        return self.daemon.poll() is None

    def stop_daemon(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def pinned(self):
        return sorted(path.name for path in (self.pins / "links").iterdir())

    def restore(self):
        """Everything attached again, as after the start."""
        self.stop_daemon()
        self.start_daemon()
        # Where somebody has listened meanwhile, its network namespace has one more.
        wait_for(lambda: set(self.links) <= set(self.pinned()), "all hooks are attached again")

    def __exit__(self, *_):
        if self.daemon is not None:
            self.stop_daemon()
            self.log.close()
        subprocess.run([BIN / "msegd", "--detach-all", "--bpffs", self.pins],
                       capture_output=True, check=False)
        for group in ("db/new", "db", "web", "shut", ""):
            path = self.cgroup / group
            if path.exists():
                try:
                    wait_for(lambda p=path: not (p / "cgroup.procs").read_text(), "cgroup empty")
                    path.rmdir()
                except (OSError, TimeoutError) as error:
                    print(f"unattached.sh: {path} stays: {error}", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)

    def full(self):
        return (self.pins / "programs" / "mseg_lsm_connect").exists()

    def pins_of(self, hook):
        """More than one, or none, of a hook that network namespaces have."""
        pins = (self.pins / "links").iterdir()
        return [pin for pin in pins if hook_of(pin.name) == hook]

    def unpin(self, hook):
        for pin in self.pins_of(hook):
            self.unpin_link(pin)

    @staticmethod
    def unpin_link(pin):
        """Removes the link and waits until the kernel has let go of it."""
        info = json.loads(subprocess.run([bpftool(), "-j", "link", "show", "pinned", pin],
                                         capture_output=True, check=True).stdout)
        pin.unlink()
        wait_for(lambda: subprocess.run(
            [bpftool(), "link", "show", "id", str(info["id"])],
            capture_output=True, check=False).returncode != 0, f"link {pin.name} is gone")

    def records(self, name):
        out = subprocess.run([bpftool(), "-j", "map", "dump", "pinned", self.pins / "maps" / name],
                             capture_output=True, check=True).stdout
        return [(entry["formatted"]["key"], entry["formatted"]["value"])
                for entry in json.loads(out)]

    def run_in(self, group, code, *args):
        """A Python child that joins a cgroup first; what it prints is the answer."""
        join = f"open('{self.cgroup / group}/cgroup.procs', 'w').write('0')\n" if group else ""
        return subprocess.Popen([sys.executable, "-c", join + code, *map(str, args)],
                                stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


CLIENT = """
import errno, socket, sys
family, kind, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
s = socket.socket(family, kind)
s.settimeout(8)
try:
    if kind == socket.SOCK_DGRAM:
        s.sendto(b'x', (host, port))
    else:
        s.connect((host, port))
    print('ok')
except socket.timeout:
    print('timeout')
except OSError as e:
    print(errno.errorcode[e.errno])
"""

SERVER = """
import socket, sys
family, kind, host = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
s = socket.socket(family, kind)
s.bind((host, 0))
if kind == socket.SOCK_STREAM:
    s.listen()
print(s.getsockname()[1], flush=True)
sys.stdin.readline()
s.close()
print('closed', flush=True)
sys.stdin.readline()
"""

SLEEPER = """
import os, sys
print('ready', flush=True)
sys.stdin.readline()
os.execv(sys.argv[1], ['sleep', '60'])
"""

FORKER = """
import os, signal, sys
pid = os.fork()
if pid == 0:
    signal.pause()
print(pid, flush=True)
sys.stdin.readline()
os.kill(pid, 9)
os.waitpid(pid, 0)
"""


def end(child):
    child.kill()
    child.wait()


def ask(instance, group, family, kind, host, port):
    child = instance.run_in(group, CLIENT, int(family), int(kind), host, port)
    try:
        return child.communicate(timeout=LIMIT)[0].strip()
    finally:
        end(child)


def client(family, kind, host):
    return lambda instance: ask(instance, "shut", family, kind, host, 9)


def with_server(question, family=socket.AF_INET, kind=socket.SOCK_STREAM, host="127.0.0.1"):
    """Asks while a server of the database listens."""
    def probe(instance):
        server = instance.run_in("db", SERVER, int(family), int(kind), host)
        try:
            return question(instance, int(server.stdout.readline()), server)
        finally:
            end(server)
    return probe


def refused_by(instance, port):
    """Who refused what came to this port of the database: a hook, by the flows; or nobody."""
    def found():
        lines = map(json.loads, instance.msegctl("flows", "-o", "json").splitlines())
        hooks = {line["hook"] for line in lines
                 if line["port"] == port and line["verdict"] == "deny" and line["rule"] == "db"
                 and line["local"]["labels"].get("role") == "db"}
        seen.update(hooks)
        return hooks
    seen = set()
    try:
        wait_for(found, "a flow line", 3)
    except TimeoutError:
        return "nobody"
    return ", ".join(sorted(seen))


def stranger(instance, port, _server):
    # No process that mseg manages: only the listener's side can refuse.
    answer = ask(instance, "", socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", port)
    return f"{answer}, refused by {refused_by(instance, port)}"


def answered(instance, port, _server):
    """How the stranger learns of it, without a daemon that would attach the hook again."""
    if instance.running():
        wait_for(lambda: instance.pins_of("mseg_refuse_lookup"), "the listener has been seen")
    return ask(instance, "", socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", port)


def neighbour(instance, port, _server):
    return ask(instance, "web", socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1", port)


def neighbour_sends(family, host):
    return with_server(lambda instance, port, _: ask(instance, "web", family, socket.SOCK_DGRAM,
                                                     host, port),
                       family, socket.SOCK_DGRAM, host)


def listens(instance, port):
    return any(key["port"] == port for key, _ in instance.records("mseg_listeners"))


def closed(instance, port, server):
    if not listens(instance, port):
        return "never recorded"
    server.stdin.write("\n")
    server.stdin.flush()
    server.stdout.readline()
    end_of_wait = time.monotonic() + 1
    while listens(instance, port) and time.monotonic() < end_of_wait:
        time.sleep(0.02)
    return "recorded" if listens(instance, port) else "forgotten"


def task(instance, pid):
    found = [value for key, value in instance.records("mseg_tasks") if key["tgid"] == pid]
    return found[0] if found else None


def executed(instance):
    sleep = os.path.realpath(shutil.which("sleep"))
    child = instance.run_in("web", SLEEPER, sleep)
    try:
        child.stdout.readline()
        child.stdin.write("\n")
        child.stdin.flush()
        wait_for(lambda: os.path.realpath(f"/proc/{child.pid}/exe") == sleep, "exec")
        record = task(instance, child.pid)
        if record is None:
            return "no record"
        return "sleep" if record["exe"]["ino"] == os.stat(sleep).st_ino else "what ran before"
    finally:
        end(child)


def forked(instance):
    child = instance.run_in("web", FORKER)
    try:
        pid = int(child.stdout.readline())
        answer = "recorded" if task(instance, pid) else "no record"
        child.communicate("\n", timeout=LIMIT)
        return answer
    finally:
        end(child)


def exited(instance):
    child = instance.run_in("web", SLEEPER, "/bin/true")
    child.stdout.readline()
    end(child)
    end_of_wait = time.monotonic() + 1
    while task(instance, child.pid) and time.monotonic() < end_of_wait:
        time.sleep(0.02)
    return "recorded" if task(instance, child.pid) else "forgotten"


def made_cgroup(instance):
    # The daemon would look at the new cgroup itself when it hears of it; it hears by this hook.
    group = instance.cgroup / "db" / "new"
    group.mkdir()
    try:
        time.sleep(0.3)
        number = os.stat(group).st_ino
        known = any(key["id"] == number for key, _ in instance.records("mseg_cgroups"))
        return "recorded" if known else "no record"
    finally:
        group.rmdir()


def removed_cgroup(instance):
    group = instance.cgroup / "db" / "new"
    group.mkdir()
    number = os.stat(group).st_ino
    group.rmdir()
    time.sleep(0.5)
    known = any(key["id"] == number for key, _ in instance.records("mseg_cgroups"))
    return "recorded" if known else "forgotten"


# Acts that print how they end, for `act`.
RAW = "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"
PACKET = "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
TUN = """
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"", 0x1001))
"""
LIBC = "libc = ctypes.CDLL(None, use_errno=True)\n"
RAISE = """
if result < 0:
    raise OSError(ctypes.get_errno(), "")
"""
SQPOLL = LIBC + """
params = bytearray(120)
struct.pack_into("I", params, 8, 2)
result = libc.syscall(425, 4, (ctypes.c_char * 120).from_buffer(params))
""" + RAISE
# The parent is this script, which no policy confines: another class.
TRACEME = LIBC + "result = libc.ptrace(0, 0, 0, 0)" + RAISE
# What is handed over was made outside the cgroup: `act` joins it at JOIN.
RECEIVED = """
answer = socket.recv_fds(there, 1, 1)[1]
if not answer:
    raise OSError(errno.ENOTCONN, "")
"""
RECEIVE = """
here, there = socket.socketpair()
socket.send_fds(here, [b"x"], [made.fileno()])
JOIN
""" + RECEIVED
RECEIVE_PACKET = "made = " + PACKET + RECEIVE
TUN_OPEN = LIBC + """
result = libc.unshare(0x40000000)
name = struct.pack("16sH22x", b"prove0", 0x1001)
with open("/dev/net/tun", "r+b", buffering=0) as made:
    fcntl.ioctl(made, 0x400454ca, name)
    fcntl.ioctl(made, 0x400454cb, 1)
JOIN
fcntl.ioctl(os.open("/dev/net/tun", os.O_RDWR), 0x400454ca, name)
"""

# A process of its own goes on from here; the one before stays until that has ended.
FORK = """
if os.fork():
    os.wait()
    os._exit(0)
JOIN
"""
CONNECTED = """
listener = socket.create_server(("127.0.0.1", 0))
made = socket.create_connection(listener.getsockname())
taken = listener.accept()[0]
taken.send(b"x")
"""
# Another process receives it: whom it was judged for has it anyway.
RECEIVE_CONNECTED = """
listener = socket.create_server(("127.0.0.1", 0))
made = socket.create_connection(listener.getsockname())
here, there = socket.socketpair()
socket.send_fds(here, [b"x"], [made.fileno()])
""" + FORK + RECEIVED
SEND_HELD = CONNECTED + FORK + "made.send(b'x')"
# The connection waits, judged for whoever listened.
ACCEPT_HELD = """
listener = socket.create_server(("127.0.0.1", 0))
made = socket.create_connection(listener.getsockname())
""" + FORK + "listener.accept()"
UNIX = """
path = "\\0mseg-prove-" + str(os.getpid())
server = socket.socket(socket.AF_UNIX, socket.SOCK_%s)
"""
UNIX_CONNECT = UNIX % "STREAM" + "server.bind(path)\nserver.listen()" + FORK + """
socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)
"""
UNIX_SEND = UNIX % "DGRAM" + "server.bind(path)" + FORK + """
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", path)
"""
# The socket is made outside the cgroup, who answers joins it first.
CHILD = """
if os.fork() == 0:
    JOIN
    server.%s
    os._exit(0)
os.wait()
"""
UNIX_BIND = UNIX % "DGRAM" + CHILD % "bind(path)" + """
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", path)
"""
UNIX_LISTEN = UNIX % "STREAM" + "server.bind(path)" + CHILD % "listen()" + """
socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect(path)
"""
PAIR_SEND = "here, there = socket.socketpair()" + FORK + "here.send(b'x')"
# Code of a file that somebody else than root wrote.
FOREIGN = """
import mmap, tempfile
file = tempfile.NamedTemporaryFile()
file.write(bytes(4096))
file.flush()
os.fchown(file.fileno(), 65534, 65534)
there = os.open(file.name, os.O_RDONLY)
data = mmap.mmap(there, 4096, prot=mmap.PROT_READ | mmap.%s, flags=mmap.MAP_PRIVATE)
"""
MAP_CODE = FOREIGN % "PROT_EXEC"
PROTECT_CODE = LIBC + FOREIGN % "PROT_WRITE" + """
place = ctypes.addressof(ctypes.c_char.from_buffer(data))
result = libc.mprotect(ctypes.c_void_p(place), 4096, 5)
""" + RAISE
# AT_SECURE, as the program that was executed sees it.
SECURE = """
import sys
code = "import ctypes; print(ctypes.CDLL(None).getauxval(23))"
os.execv(sys.executable, [sys.executable, "-c", code])
"""


def act(group, code, begin=None):
    """Runs it in the group (from JOIN on, if it says where) and says what comes of it."""
    def run(instance):
        join = f"open('{instance.cgroup / group}/cgroup.procs', 'w').write('0')"
        body = code.replace("JOIN", join) if "JOIN" in code else join + "\n" + code
        lines = "\n".join("    " + line for line in body.splitlines())
        child = instance.run_in(
            begin, "import ctypes, errno, fcntl, os, socket, struct\ntry:\n" + lines +
            "\n    print('done')\nexcept OSError as error:\n"
            "    print('refused' if error.errno == errno.ENOTCONN else "
            "errno.errorcode.get(error.errno, error))\n")
        return child.communicate(timeout=LIMIT)[0].strip()
    return run


def traced(instance):
    """From outside: attach to a process that is shut in."""
    target = instance.run_in("shut", SLEEPER, "/bin/true")
    try:
        target.stdout.readline()
        return act("web", LIBC + f"result = libc.ptrace(16, {target.pid}, 0, 0)" + RAISE)(instance)
    finally:
        end(target)


def counter(instance, name):
    """A per-CPU counter, by its place in enum mseg_counter."""
    header = (ROOT / "bpf" / "include" / "mseg" / "abi.h").read_text()
    names = re.findall(r"^\tMSEG_CNT_(\w+)", header, re.M)
    out = subprocess.run([bpftool(), "-j", "map", "dump", "pinned",
                          instance.pins / "maps" / "mseg_counters"],
                         capture_output=True, check=True).stdout
    return sum(int(cpu["value"]) for entry in json.loads(out)
               if entry["formatted"]["key"] == names.index(name)
               for cpu in entry["formatted"]["values"])


def hashed(instance):
    program = instance.dir / "fresh"
    program.write_bytes(Path("/bin/true").read_bytes() + os.urandom(8))
    program.chmod(0o755)
    before = counter(instance, "EXEC_HASHED")
    child = instance.run_in("web", SLEEPER, program)
    child.stdout.readline()
    child.communicate("\n", timeout=LIMIT)
    program.unlink()
    return "hashed" if counter(instance, "EXEC_HASHED") > before else "not hashed"


def written(code):
    def run(instance):
        program = instance.dir / "written"
        program.write_bytes(b"#!/bin/true\n")
        os.chmod(program, 0o755)
        instance.msegctl("identity", "show", program)  # what is known is watched
        subprocess.run([sys.executable, "-c", "import os, sys\n" + code, program], check=True)
        number = os.stat(program).st_ino
        marked = any(key["ino"] == number and when
                     for key, when in instance.records("mseg_written"))
        program.unlink()
        return "marked" if marked else "not marked"
    return run


def scripted(instance):
    program = instance.dir / "script"
    program.write_bytes(b"#!/bin/true\n")
    program.chmod(0o755)
    number = os.stat(program).st_ino
    subprocess.run([program], check=True)
    until = time.monotonic() + 3
    seen = False
    while not seen and time.monotonic() < until:
        time.sleep(0.1)
        seen = any(key["ino"] == number for key, _ in instance.records("mseg_exes"))
    program.unlink()
    return "seen" if seen else "not seen"


INET, INET6, TCP, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM
LSM = ("mseg_lsm_connect", "mseg_lsm_sendmsg")
# Full mode only.
FULL = (*LSM, "mseg_hash_exec", "mseg_see_script", "mseg_file_open", "mseg_path_truncate",
        "mseg_lsm_socket_create", "mseg_lsm_tun_create", "mseg_lsm_tun_open", "mseg_lsm_sqpoll",
        "mseg_lsm_file_receive", "mseg_lsm_receive_kind", "mseg_lsm_ptrace", "mseg_lsm_traceme",
        "mseg_lsm_send_held", "mseg_lsm_accept", "mseg_lsm_unix_bind",
        "mseg_lsm_unix_listen", "mseg_lsm_unix_connect", "mseg_lsm_unix_send",
        "mseg_lsm_unix_pair", "mseg_lsm_pair_send",
        "mseg_lsm_secure_exec", "mseg_lsm_mmap", "mseg_lsm_mprotect")
# What the daemon attaches again as soon as somebody listens.
BY_DAEMON = ("mseg_refuse_lookup",)
CONNECT = ("mseg_connect4", "mseg_connect6")
SENDMSG = ("mseg_sendmsg4", "mseg_sendmsg6")

# Hook -> what else must be out of its way (a second lock on the same act), the act, and what comes
# of it with the hook attached. Without it anything else must come.
PROOFS = {
    "mseg_connect4": (LSM, client(INET, TCP, "127.0.0.1"), "EPERM"),
    "mseg_connect6": (LSM, client(INET6, TCP, "::1"), "EPERM"),
    "mseg_sendmsg4": (LSM, client(INET, UDP, "127.0.0.1"), "EPERM"),
    "mseg_sendmsg6": (LSM, client(INET6, UDP, "::1"), "EPERM"),
    "mseg_ingress": ((), with_server(stranger), "ECONNREFUSED, refused by ingress"),
    "mseg_refuse_lookup": ((), with_server(answered), "ECONNREFUSED"),
    "mseg_sockops": ((), with_server(neighbour), "EPERM"),
    "mseg_post_bind4": ((), neighbour_sends(INET, "127.0.0.1"), "EPERM"),
    "mseg_post_bind6": ((), neighbour_sends(INET6, "::1"), "EPERM"),
    "mseg_sock_release": ((), with_server(closed), "forgotten"),
    "mseg_exec": ((), executed, "sleep"),
    "mseg_fork": ((), forked, "recorded"),
    "mseg_exit": ((), exited, "forgotten"),
    "mseg_cgroup_mkdir": ((), made_cgroup, "recorded"),
    "mseg_cgroup_rmdir": ((), removed_cgroup, "forgotten"),
    "mseg_lsm_connect": (CONNECT, client(INET, TCP, "127.0.0.1"), "EPERM"),
    "mseg_lsm_sendmsg": (SENDMSG, client(INET, UDP, "127.0.0.1"), "EPERM"),
    "mseg_sock_create": (("mseg_lsm_socket_create",), act("shut", RAW), "EPERM"),
    "mseg_lsm_socket_create": ((), act("shut", PACKET), "EPERM"),
    "mseg_lsm_tun_create": ((), act("shut", TUN), "EPERM"),
    "mseg_lsm_tun_open": ((), act("shut", TUN_OPEN), "EPERM"),
    "mseg_lsm_sqpoll": ((), act("shut", SQPOLL), "EPERM"),
    "mseg_lsm_ptrace": ((), traced, "EPERM"),
    "mseg_lsm_traceme": ((), act("shut", TRACEME), "EPERM"),
    "mseg_lsm_file_receive": ((), act("shut", RECEIVE_CONNECTED, "web"), "refused"),
    "mseg_lsm_send_held": ((), act("shut", SEND_HELD, "web"), "EPERM"),
    "mseg_lsm_accept": ((), act("db", ACCEPT_HELD, "web"), "EPERM"),
    "mseg_lsm_unix_bind": ((), act("db", UNIX_BIND, "web"), "EPERM"),
    "mseg_lsm_unix_listen": ((), act("db", UNIX_LISTEN, "web"), "EPERM"),
    "mseg_lsm_unix_connect": ((), act("shut", UNIX_CONNECT, "web"), "EPERM"),
    "mseg_lsm_unix_send": ((), act("shut", UNIX_SEND, "web"), "EPERM"),
    "mseg_lsm_unix_pair": ((), act("shut", PAIR_SEND, "web"), "EPERM"),
    "mseg_lsm_pair_send": ((), act("shut", PAIR_SEND, "web"), "EPERM"),
    "mseg_lsm_secure_exec": ((), act("shut", SECURE), "1"),
    "mseg_lsm_mmap": ((), act("shut", MAP_CODE), "EPERM"),
    "mseg_lsm_mprotect": ((), act("shut", PROTECT_CODE), "EPERM"),
    "mseg_lsm_receive_kind": ((), act("shut", RECEIVE_PACKET), "refused"),
    "mseg_hash_exec": ((), hashed, "hashed"),
    "mseg_see_script": ((), scripted, "seen"),
    "mseg_file_open": ((), written("open(sys.argv[1], 'r+b').close()"), "marked"),
    "mseg_path_truncate": ((), written("os.truncate(sys.argv[1], 5)"), "marked"),
}


def prove(instance, hook):
    others, probe, wanted = PROOFS[hook]
    if hook in FULL and not instance.full():
        print(f"skipped: {hook} (this kernel has no BPF LSM)")
        return True
    for other in others:
        if (instance.pins / "links" / other).exists():
            instance.unpin(other)
    attached = probe(instance)
    if hook in BY_DAEMON:
        instance.stop_daemon()
    instance.unpin(hook)
    without = probe(instance)
    instance.restore()
    good = attached == wanted and without != wanted
    print(f"{'proved' if good else 'NOT PROVED'}: {hook}: attached {attached}"
          f"{'' if attached == wanted else f' (expected {wanted})'}, unattached {without}",
          flush=True)
    return good


def main():
    if os.geteuid() != 0:
        sys.exit("unattached.sh: needs root")
    hooks = sys.argv[1:] or list(PROOFS)
    unknown = [hook for hook in hooks if hook not in PROOFS]
    if unknown:
        sys.exit(f"unattached.sh: no proof for {', '.join(unknown)}")
    with Instance() as instance:
        results = [prove(instance, hook) for hook in hooks]
    print(f"unattached.sh: {sum(results)} of {len(results)}")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
