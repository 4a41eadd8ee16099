# SPDX-License-Identifier: Apache-2.0
"""Checks the shape of a report of mseg-bench. Usage: bench_json.py FILE SUITE/ARM/METRIC..."""

import json
import sys

TOP = {"schema": int, "version": str, "started": str, "machine": dict, "kernel": str, "mode": str,
       "mseg_mode": str, "arms": list, "results": list, "aa": dict, "conclusive": bool,
       "verdict": str, "skipped": list, "notes": list}
RESULT = {"suite": str, "arm": str, "against": str, "topology": str, "rules": int, "metric": str,
          "unit": str, "median": (int, float), "ci_low": (int, float), "ci_high": (int, float),
          "n": int, "recreated": list}


def check(thing, fields, where):
    wrong = [f"{where}: {name}" for name, kind in fields.items()
             if not isinstance(thing.get(name), kind)]
    return wrong + [f"{where}: {name} is not documented" for name in thing if name not in fields]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    wrong = check(report, TOP, "report")
    for result in report["results"]:
        wrong += check(result, RESULT, f"{result.get('suite')}/{result.get('arm')}")
        if not result["ci_low"] <= result["median"] <= result["ci_high"]:
            wrong.append(f"{result['suite']}/{result['arm']}/{result['metric']}: interval")
    there = {f"{r['suite']}/{r['arm']}/{r['metric']}" for r in report["results"]}
    skipped = {f"{s['suite']}/{s['arm']}" for s in report["skipped"]}
    for wanted in sys.argv[2:]:
        if wanted not in there and wanted.rsplit("/", 1)[0] not in skipped:
            wrong.append(f"{wanted} is missing")
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
