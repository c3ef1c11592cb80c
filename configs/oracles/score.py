"""An oracle in ten lines: a promoter's -35 and -10 boxes, 17 apart, and no run of five equal letters."""

import json
import re
import sys

for line in sys.stdin:
    asked = json.loads(line)
    text, found = asked["sequence"], 0
    for start in range(len(text) - 28):
        boxes = text[start : start + 6] + text[start + 23 : start + 29]
        found = max(found, sum(a == b for a, b in zip(boxes, "TTGACATATAAT", strict=True)))
    feasible = re.search(r"(.)\1{4}", text) is None
    print(json.dumps({"id": asked["id"], "score": found / 12, "feasible": feasible}), flush=True)
