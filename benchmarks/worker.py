"""The worker as a client feels it: how soon it is there, how soon a cancel is answered, what updates cost.

    python benchmarks/worker.py --tiles 3 --tile-px 2048 --tries 20

A grid of made-up tissue is stitched by LoFTR, and each try cancels it at a random moment of one of the stages. What is
measured is the time from the CANCEL to the CANCELATION, and from there to the beginning of the next task, which has to
wait for the remains.
"""

from __future__ import annotations

import argparse
import json
import queue
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from demis_ij import synth

FINAL = ("COMPLETION", "CANCELATION", "FAILURE")
TURNS = ("loftr: pairs", "render", "loftr: pairs", "stage axes", "loftr: pairs", "solve", "loftr: pairs", "report")


class Worker:
    """A worker, and what it answers with the time at which it came."""

    def __init__(self, words: tuple[str, ...] = ("-m", "demis_ij.worker")) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, "-u", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdin is None:
            raise RuntimeError("no pipe")
        self.pipe = self.process.stdin
        self.arrived: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
        self.number = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            self.arrived.put((time.perf_counter(), json.loads(line)))

    def send(self, **message: Any) -> float:
        """Send a message; return when."""
        self.pipe.write(json.dumps(message, default=str).encode() + b"\n")
        self.pipe.flush()
        return time.perf_counter()

    def start(self, verb: str, inputs: Mapping[str, Any]) -> str:
        """Ask for a task."""
        self.number += 1
        task = str(self.number)
        self.send(task=task, requestType="EXECUTE", script=verb, inputs=inputs)
        return task

    def until(self, task: str, *kinds: str) -> tuple[float, dict[str, Any]]:
        """Return the next answer of some kinds, and when it came."""
        while True:
            when, answer = self.arrived.get(timeout=600)
            if answer["task"] == task and answer["responseType"] in kinds:
                return when, answer

    def close(self) -> float:
        """Close the pipe; return how long the worker took to end."""
        began = time.perf_counter()
        self.pipe.close()
        self.process.wait(60)
        return time.perf_counter() - began


def said(name: str, values: list[float]) -> None:
    """Print a line of milliseconds."""
    ms = sorted(1000 * v for v in values)
    print(f"{name:<44}{len(ms):>5}{statistics.median(ms):>10.0f}{ms[0]:>10.0f}{ms[-1]:>10.0f}")


def start_up(tries: int, layout: Path, scratch: Path) -> None:
    """Measure how soon a worker answers, and how soon its first and second stitch are under way."""
    launch, check, first, second = [], [], [], []
    for n in range(tries):
        worker = Worker()
        task = worker.start("plan", {"layout": layout})
        launch.append(worker.until(task, "LAUNCH")[0] - worker.began)
        check.append(worker.until(task, "COMPLETION")[0] - worker.began)
        for k, into in enumerate((first, second)):
            began = time.perf_counter()
            task = worker.start("stitch", {"layout": layout, "out": scratch / f"start {n} {k}", "matcher": "loftr"})
            while "pairs" not in (answer := worker.until(task, "UPDATE", "FAILURE"))[1].get("message", ""):
                if answer[1]["responseType"] == "FAILURE":
                    raise RuntimeError(answer[1]["error"])
            into.append(answer[0] - began)
            worker.send(task=task, requestType="CANCEL")
            worker.until(task, *FINAL)
        worker.close()
    said("start to LAUNCH", launch)
    said("start to the answer of the first 'plan'", check)
    said("stitch to its first pairs, first task", first)
    said("stitch to its first pairs, second task", second)


def matched_once(worker: Worker, layout: Path, out: Path) -> dict[str, float]:
    """Leave a run folder whose pairs are matched and nothing else is done; return the seconds that each stage took."""
    task = worker.start("stitch", asked(layout, out))
    began: dict[str, float] = {}
    while True:
        when, answer = worker.until(task, "UPDATE", *FINAL)
        name = answer.get("message", "the end")
        began.setdefault(name, when)
        if name == "the end":
            break
    for path in out.iterdir():
        if path.name not in {"matches", "run.json", ".axes-0.done"}:
            path.unlink()
    order = sorted(began, key=lambda name: began[name])
    return {one: began[two] - began[one] for one, two in pairwise(order)}


def asked(layout: Path, out: Path) -> dict[str, Any]:
    """Return the inputs of every stitch."""
    return {"layout": layout, "out": out, "matcher": "loftr", "mosaic": ["ome-tiff"]}


def cancels(tries: int, layout: Path, scratch: Path, rng: random.Random) -> None:
    """Cancel at random moments of every stage."""
    found: dict[str, list[float]] = {}
    remains: list[float] = []
    ends: dict[str, int] = {}
    worker = Worker()
    lasts = matched_once(worker, layout, scratch / "matched")
    print("seconds:", {stage: round(seconds, 1) for stage, seconds in lasts.items()})
    while sum(map(len, found.values())) < tries:
        wanted = TURNS[sum(ends.values()) % len(TURNS)]
        out = scratch / "run"
        if wanted in {"solve", "render", "report"}:
            shutil.copytree(scratch / "matched", out)
        task = worker.start("stitch", asked(layout, out))
        while True:
            _, answer = worker.until(task, "UPDATE", *FINAL)
            if answer["responseType"] in FINAL or answer["message"] == wanted:
                break
        time.sleep(rng.uniform(0, 0.9 * lasts.get(wanted, 0.1)))
        sent = worker.send(task=task, requestType="CANCEL")
        if answer["responseType"] not in FINAL:
            when, answer = worker.until(task, *FINAL)
        ends[answer["responseType"]] = ends.get(answer["responseType"], 0) + 1
        if answer["responseType"] == "CANCELATION":
            found.setdefault(wanted, []).append(when - sent)
            task = worker.start("plan", {"layout": layout})
            remains.append(worker.until(task, "LAUNCH")[0] - when)
            worker.until(task, *FINAL)
        shutil.rmtree(out, ignore_errors=True)
    for stage, values in found.items():
        said(f"cancel in '{stage}'", values)
    said("cancel, all", [v for values in found.values() for v in values])
    said("  from its answer to the next task's LAUNCH", remains)
    task = worker.start("stitch", asked(layout, scratch / "last"))
    while worker.until(task, "UPDATE")[1]["message"] != "loftr: pairs":
        pass
    said("client gone in the middle, to the end", [worker.close()])


def updates(seconds: float) -> None:
    """Measure what 100 updates a second cost the work, and how many go out."""
    from demis_ij.worker.wire import Answers

    with tempfile.TemporaryFile() as file:
        answers = Answers(file.fileno(), lambda: None)
        answers.expect("a")
        costs = []
        number = round(100 * seconds)
        for n in range(number):
            began = time.perf_counter()
            answers.update("a", "loftr: pairs", n, number)
            costs.append(time.perf_counter() - began)
            time.sleep(0.01)
        answers.finish("a", "COMPLETION", outputs={})
        answers.close(5)
        file.seek(0)
        lines = [json.loads(line) for line in file]
    out = [a for a in lines if a["responseType"] == "UPDATE"]
    rate = len(out) / seconds
    last = "the last one too" if out[-1]["current"] == number - 1 else "NOT the last one"
    cost = f"{1e6 * statistics.median(costs):.0f} us (median; {1e6 * max(costs):.0f} at most)"
    print(f"{number} updates in {seconds:g} s: {len(out)} went out ({rate:.1f} a second), {last}")
    print(f"one costs the work {cost}")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=3, help="a side of the grid")
    parser.add_argument("--tile-px", type=int, default=2048)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        grid = synth.GridSpec(
            rows=options.tiles, cols=options.tiles, tile_px=options.tile_px, overlap=0.12, rotation_deg=0.3,
            shift_frac=0.01, stage_error_frac=0.01, noise_sd=4,
        )  # fmt: skip
        layout = synth.write_scene(synth.make_scene(grid, options.seed), scratch / "scene") / "TileConfiguration.txt"
        print(f"{options.tiles} x {options.tiles} tiles of {options.tile_px} px")
        print(f"{'milliseconds':<44}{'n':>5}{'median':>10}{'least':>10}{'most':>10}")
        start_up(options.starts, layout, scratch)
        cancels(options.tries, layout, scratch, random.Random(options.seed))
        updates(10.0)


if __name__ == "__main__":
    main()
