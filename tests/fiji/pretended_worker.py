"""A Python that is not ours: it says what its first argument asks for, then behaves as that says."""

from __future__ import annotations

import json
import os
import sys


def answer(task: str, kind: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"task": task, "responseType": kind, **facts}) + "\n")
    sys.stdout.flush()


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        task = request["task"]
        if request["requestType"] == "CANCEL":
            if sys.argv[1] != "deaf":
                answer(task, "CANCELATION")
            continue
        if sys.argv[1] == "newer":
            answer(task, "LAUNCH", info={"version": "9.9.9", "api": 99})
        if sys.argv[1] == "nameless":
            answer(task, "LAUNCH")
        if sys.argv[1] == "chatty":
            sys.stdout.write("Downloading 3 %\n{not JSON\n[1, 2]\n\n")
            answer("another task", "FAILURE", error="not for you")
            answer(task, "LAUNCH", info={"version": "0.1.0", "api": 1})
            answer(task, "COMPLETION", outputs={"path": "/said/by/the/right/task", "warnings": []})
        if sys.argv[1] == "deaf":
            answer(task, "LAUNCH", info={"version": "0.1.0", "api": 1})
            answer(task, "UPDATE", message="working", current=1, maximum=9)
        if sys.argv[1] == "dying":
            answer(task, "LAUNCH", info={"version": "0.1.0", "api": 1})
            for k in range(2000):
                sys.stderr.write(f"line {k} of a long complaint\n")
            sys.stderr.flush()
            os._exit(3)
        if sys.argv[1] == "failing":
            answer(task, "LAUNCH", info={"version": "0.1.0", "api": 1})
            answer(
                task, "FAILURE", error="tile 7 is upside down\n\nTraceback (most recent call last):\n  somewhere deep"
            )


if __name__ == "__main__":
    main()
