# SPDX-License-Identifier: Apache-2.0
"""Cells of the cyclonus cases on real sockets; called by tests/truth/sockets.sh, which has made the
pods' namespaces and started msegd.

pods_on_sockets.py KEPT CGROUP NETNS CELLS: KEPT is what `tests/truth/cyclonus.py --keep` wrote,
CGROUP the managed root, NETNS what the pods' namespaces begin with: NETNS-NAMESPACE-POD. Applies one
step after the other, the documents that went deleted, and compares at least CELLS cells.
"""
import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import truth

PORTS = ("80", "81")
PODS = [(ns, name) for ns in "xyz" for name in "abc"]


class Pod:
    """A process in the pod's cgroup and network namespace."""

    def __init__(self, cgroup, netns, ns, name):
        folder = Path(cgroup) / "kubepods/besteffort" / f"pod{truth.uid_of({'ns': ns, 'name': name})}"
        folder.mkdir(parents=True, exist_ok=True)
        agent = Path(os.environ["POD_AGENT"])
        self.process = subprocess.Popen(
            ["bash", "-c", 'echo $$ >"$1/cgroup.procs" && exec nsenter --net="$2" "${@:3}"', "pod",
             str(folder), f"/run/netns/{netns}-{ns}-{name}", "/usr/bin/python3", str(agent), *PORTS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            sys.exit(f"not ok: pod {ns}/{name} does not start")

    def begin(self, acts):
        self.process.stdin.write(json.dumps(acts) + "\n")
        self.process.stdin.flush()

    def results(self):
        return json.loads(self.process.stdout.readline())


def cells_of(folder):
    addresses = {}
    for item in json.loads((folder / "pods.json").read_text()):
        addresses[f"{item['ns']}/{item['name']}"] = item["ip"]
    for line in (folder / "expected.jsonl").read_text().splitlines():
        cell = json.loads(line)
        known = all(tuple(cell[end].split("/")) in PODS for end in ("from", "to"))
        if cell["protocol"] != "SCTP" and known:
            yield cell, [cell["protocol"].lower(), addresses[cell["to"]], cell["port"]]


def wanted(cell):
    """How the client sees it: its own end refuses at once, the other end drops the first segment and
    answers the next one with a reset."""
    if cell["verdict"] == "allow":
        return ("ok",)
    return ("EPERM",) if cell["egress"] == "deny" else ("timeout", "ECONNREFUSED")


def judge(folder, pods, seen):
    by_pod = {pod: [] for pod in pods}
    for cell, act in cells_of(folder):
        by_pod[cell["from"]].append((cell, act))
    for pod, cells in by_pod.items():
        pods[pod].begin([act for _, act in cells])
    count = 0
    differences = 0
    for pod, cells in by_pod.items():
        for (cell, act), got in zip(cells, pods[pod].results(), strict=True):
            count += 1
            seen[got] += 1
            if got in wanted(cell):
                continue
            differences += 1
            print(f"not ok: {folder.name}: {cell['from']} to {cell['to']} {act}: {got}, should be "
                  f"{wanted(cell)[0]}")
    return count, differences


def sample(folders):
    """Cases in turn with each of the features, then some that have several steps, then all."""
    cases = {}
    for folder in folders:
        cases.setdefault(folder.name.split("-")[1], []).append(folder)
    order = []
    for feature in ("peers: all", "except: ", "tcp/serve", "udp/serve", "-84]", "udp/8", "NotIn",
                    "operator: In", "directions: [egress]", "directions: [ingress, egress]"):
        order += [case for case in cases.values() if case not in order and
                  feature in (case[0] / "documents.yaml").read_text()][:1]
    order += [case for case in cases.values() if len(case) > 1 and case not in order][:2]
    return order + [case for case in cases.values() if case not in order]


def main():
    kept, cgroup, netns, least = sys.argv[1:]
    folders = truth.kept_steps(kept)
    pods = {f"{ns}/{name}": Pod(cgroup, netns, ns, name) for ns, name in PODS}
    count = differences = steps = 0
    before = set()
    seen = collections.Counter()
    for case in sample(folders):
        if count >= int(least):
            break
        for folder in case:
            print(f"# {folder.name}")
            before = truth.put_in_force(folder, before)
            cells, wrong = judge(folder, pods, seen)
            count, differences, steps = count + cells, differences + wrong, steps + 1
    for pod in pods.values():
        pod.process.stdin.close()
        pod.process.wait()
    print(f"{count} cells of {steps} steps on real sockets, {differences} differences "
          f"({', '.join(f'{number} {result}' for result, number in sorted(seen.items()))})")
    sys.exit(1 if differences or count < int(least) else 0)


main()
