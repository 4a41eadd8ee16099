#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Print one field of the JSON object on stdin: json_field.py counters.denied"""
import json
import sys

value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[int(name)] if isinstance(value, list) else value[name]
print(value if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False))
