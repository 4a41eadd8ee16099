#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The truth tables of the Kubernetes NetworkPolicy end-to-end tests, every cell but loopback."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import truth  # noqa: E402

CELLS = 4680


def steps():
    with truth.data_file("netpol-e2e.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            table = json.loads(line)
            yield {
                "name": f"table-{number}", "namespaces": table["namespaces"],
                "pods": table["pods"], "policies": table["policies"] or [],
                "cells": [{"from": start, "to": end, "protocol": table["protocol"],
                           "port": table["port"], "verdict": "allow" if passes else "deny"}
                          for start, row in table["expected"].items()
                          for end, passes in row.items() if start != end],
            }


truth.main(steps(), CELLS)
