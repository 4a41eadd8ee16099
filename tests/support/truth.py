# SPDX-License-Identifier: Apache-2.0
"""What the truth tests share: a cluster as kubectl prints it, through `msegctl import` and
`explain --batch`, compared cell by cell with what others say is true.

A step is a dictionary: name; namespaces {name: labels}; pods [{ns, name, ip, labels, ports}];
policies [NetworkPolicy]; cells [{from, to, protocol, port, egress?, ingress?, verdict}] with pods as
`NS/NAME` and `allow` or `deny`.
"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
MSEGCTL = Path(os.environ.get("MSEG_BUILD", ROOT / "build")) / "bin" / "msegctl"
ENDS = ("egress", "ingress", "verdict")


def data_file(name):
    """The file, or the end of the program where it is not there."""
    if (DATA / name).is_file():
        return DATA / name
    print(f"skipped: {DATA / name} is not there")
    sys.exit(1 if os.environ.get("CI") == "true" else 0)


def uid_of(pod):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{pod['ns']}/{pod['name']}"))


def pod_object(pod):
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod["name"], "namespace": pod["ns"], "labels": pod["labels"] or None,
                     "creationTimestamp": None, "uid": uid_of(pod)},
        "spec": {"containers": [
            {"name": f"cont-{port['port']}-{port['protocol'].lower()}",
             "ports": [{"containerPort": port["port"], "name": port["name"],
                        "protocol": port["protocol"]}]}
            for port in pod["ports"] or []] or [{"name": "cont"}]},
        "status": {"phase": "Running", "qosClass": "BestEffort", "podIP": pod["ip"],
                   "podIPs": [{"ip": pod["ip"]}]},
    }


def cluster(step):
    items = [{"apiVersion": "v1", "kind": "Namespace",
              "metadata": {"name": name, "labels": labels, "creationTimestamp": None}}
             for name, labels in step["namespaces"].items()]
    items += [pod_object(pod) for pod in step["pods"]]
    for policy in step["policies"]:
        items.append({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **policy})
    return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}


def yaml_of(value, indent=0):
    """Block style, as kubectl prints it."""
    pad = "  " * indent
    if isinstance(value, dict) and value:
        out = ""
        for key, item in value.items():
            nested = isinstance(item, (dict, list)) and item
            text = yaml_of(item, indent if isinstance(item, list) else indent + 1)
            out += f"{pad}{json.dumps(key)}:" + ("\n" + text if nested else f" {text}\n")
        return out
    if isinstance(value, list) and value:
        out = ""
        for item in value:
            text = yaml_of(item, indent + 1)
            nested = isinstance(item, (dict, list)) and item
            out += f"{pad}- " + (text.lstrip(" ") if nested else f"{text}\n")
        return out
    return json.dumps(value)


def run(arguments, stdin=None):
    done = subprocess.run([str(MSEGCTL), *arguments], input=stdin, capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise RuntimeError(f"msegctl {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
    return done.stdout


def kept_steps(folder):
    """The steps that `--keep` wrote, in their order."""
    return sorted(Path(folder).iterdir(), key=lambda step: [
        int(part) for part in step.name.split("-") if part.isdigit()])


def put_in_force(step, before):
    """Applies a kept step, deletes the documents that it no longer has; {KIND/NAME} of it."""
    text = (step / "documents.yaml").read_text()
    documents = {block.split("\nkind: ")[1].split("\n")[0] + "/" +
                 block.split("{name: ")[1].split("}")[0]
                 for block in text.split("---\n") if "\nkind: " in block}
    run(["policy", "apply", str(step / "documents.yaml")])
    if before - documents:
        run(["policy", "delete", *sorted(before - documents)])
    return documents


def query_of(cell):
    return {"from": f"pod:{cell['from']}", "to": f"pod:{cell['to']}",
            "protocol": cell["protocol"].lower(), "port": cell["port"]}


def compare(name, cells, answers):
    """The cells that differ from what `explain --batch` answered, described."""
    if len(answers) != len(cells):
        return [f"{name}: {len(answers)} answers to {len(cells)} questions"]
    differences = []
    for cell, line in zip(cells, answers):
        answer = json.loads(line)
        for end in ENDS:
            if end in cell and answer.get(end) != cell[end]:
                differences.append(f"{name}: {cell['from']} to {cell['to']} "
                                   f"{cell['protocol']}/{cell['port']}: {end} is "
                                   f"{answer.get(end)}, should be {cell[end]}: {line}")
    return differences


def judge(numbered, keep):
    """One step through msegctl; the cells that differ, described."""
    number, step = numbered
    objects = cluster(step)
    text = json.dumps(objects, indent=4) if number % 4 == 3 else yaml_of(objects)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(keep) / step["name"] if keep else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cluster.yaml").write_text(text)
        documents = run(["import", "networkpolicy", str(folder / "cluster.yaml")])
        (folder / "documents.yaml").write_text(documents)
        queries = "".join(json.dumps(query_of(cell)) + "\n" for cell in step["cells"])
        if keep:
            (folder / "pods.json").write_text(json.dumps(step["pods"]))
            (folder / "queries.jsonl").write_text(queries)
            (folder / "expected.jsonl").write_text(
                "".join(json.dumps(cell) + "\n" for cell in step["cells"]))
        answers = run(["explain", "--batch", "-", "-o", "json", "--policy",
                       str(folder / "documents.yaml")], queries).splitlines()
    return compare(step["name"], step["cells"], answers)


def main(steps, least_cells):
    """Judges all steps; ends the program. `least_cells`: that many cells must have been compared."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", metavar="DIR",
                        help="leave cluster.yaml, documents.yaml, queries.jsonl, expected.jsonl and "
                             "pods.json of every step in DIR/STEP, for tests that apply the steps "
                             "in turn")
    options = parser.parse_args()
    steps = list(steps)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda step: judge(step, options.keep), enumerate(steps)))
    differences = [line for lines in found for line in lines]
    cells = sum(len(step["cells"]) for step in steps)
    for line in differences[:50]:
        print(f"not ok: {line}")
    print(f"{cells} cells of {len(steps)} steps, {len(differences)} differences")
    if cells != least_cells:
        print(f"not ok: {least_cells} cells were to be compared")
    sys.exit(1 if differences or cells != least_cells else 0)
