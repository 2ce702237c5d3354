"""Runs that are killed, and disks that are full: the same command brings every one of them to the same end, or not.

A grid of 20 x 20 made-up tiles is stitched once without being disturbed. Then it is stitched anew, killed with SIGKILL
at random times, and run again until it is whole; half of the runs with two worker processes. The times are spread over
the whole length of an undisturbed run, so that kills fall into matching, solving, drawing and the report alike. All
files must be the same to the byte as those of the undisturbed run; only the seconds that a report tells may differ. No
pair may be asked about again whose answer was stored when the process was killed.

Then the same on small file systems that are full before the run is done (tmpfs, by root on Linux; left out elsewhere),
which are enlarged and the command run again.

    python benchmarks/faults.py                  # 50 kills, 4 full disks
    python benchmarks/faults.py --kills 10 --side 8

The processes are forked from this one, which has loaded the package: a run begins within a tenth of a second, and the
time goes into kills.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from demis_ij import synth
from demis_ij.cli import main as demis_main
from demis_ij.jobs import stitching as _loaded_before_the_fork  # noqa: F401
from demis_ij.runs import MatchStore
from demis_ij.stitch import asking
from demis_ij.synth import GridSpec

SECONDS = re.compile(rb"\d+ h \d+ min\b|(\d+ min )?\d+(\.\d+)? s\b")
OF_ORDER = re.compile(r"\.project\.done|\.brightness.*|\.mosaic.*\.drawn")
UNUID = re.compile(rb"\d{13}\.\d+\.\d+")
"""What makes a TrakEM2 project unlike any other: the date, and a number by chance."""
KILLS_A_RUN = 5


@dataclass
class Trial:
    """One run, killed and gone on with until it was whole.

    Attributes
    ----------
    workers : int
        How many.
    kills : list of str
        What was being done when the process was killed.
    twice : int
        Pairs asked about again though their answer was stored. None may be.
    asked : int
        Pairs asked about in all, those whose answer was lost with the process included.
    differs : list of str
        Files that are not those of the undisturbed run.
    """

    workers: int
    kills: list[str] = field(default_factory=list)
    twice: int = 0
    asked: int = 0
    differs: list[str] = field(default_factory=list)


def made_scene(folder: Path, side: int, tile_px: int) -> Path:
    """Return the layout file of a made-up grid."""
    spec = GridSpec(
        rows=side, cols=side, tile_px=tile_px, overlap=0.3, shift_frac=0.01, noise_sd=4, stage_error_frac=0.02
    )
    return synth.write_scene(synth.make_scene(spec, 7), folder) / "TileConfiguration.txt"


def words(layout: Path, run: Path, workers: int, more: Sequence[str] = ()) -> list[str]:
    """Return the command."""
    how = ["--matcher", "sift", "--set", "refine=false", "--stage-axes", "+x+y", "--workers", str(workers), "--quiet"]
    mosaics = [word for kind in ("ome-tiff", "ome-zarr", "png") for word in ("--mosaic", kind)]
    return ["stitch", str(layout), "--out", str(run), *how, *mosaics, *more]


def log_what_is_asked(path: Path) -> None:
    """From now on write a line for each batch of pairs that is handed out, and one when the work begins."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    match, ask, made = asking.Asker.match, asking.Asker._ask, asking.Batch.__init__
    stage = [""]

    def begun(self: asking.Asker, *given: Any, **named: Any) -> Any:
        os.write(log, b"[]\n")
        return match(self, *given, **named)

    def asked(self: asking.Asker, layout: Any, pairs: Any, known: Any, name: str, of: str, *more: Any) -> Any:
        stage[0] = f"{of}-{name}"
        return ask(self, layout, pairs, known, name, of, *more)

    def handed_out(self: asking.Batch, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        os.write(log, (json.dumps([stage[0], self.pairs]) + "\n").encode())

    asking.Asker.match, asking.Asker._ask, asking.Batch.__init__ = begun, asked, handed_out  # type: ignore[method-assign]


def started(command: Sequence[str], log: Path) -> int:
    """Return the process id of the command, run in a fork of this process."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    out = os.open(log.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout = sys.stderr = os.fdopen(out, "w", buffering=1, closefd=False)
    log_what_is_asked(log)
    sys.argv = ["demis-ij", *command]
    code = 1
    try:
        demis_main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(code)
    return 0


def waited(pid: int, seconds: float | None = None) -> int | None:
    """Return a process's exit code once it ends (minus the signal when killed), None when it takes longer."""
    until = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if until is not None and time.monotonic() >= until:
            return None
        time.sleep(0.002)


def until_begun(pid: int, log: Path) -> int | None:
    """Wait until a process looks for pairs; return its exit code where it has ended before."""
    while not (log.exists() and log.stat().st_size):
        code = waited(pid, 0.01)
        if code is not None:
            return code
    return None


def digests(run: Path) -> dict[str, str]:
    """Return the digest of every file of a run, the seconds and dates that it tells left out.

    Left out, too, is what only the next run looks at: the mark of the solved layout, which holds the digest of a file
    with a date, and what is remembered of regions, in the order in which they were drawn.
    """
    out = {}
    for path in sorted(p for p in run.rglob("*") if p.is_file() and not OF_ORDER.match(p.relative_to(run).parts[0])):
        raw = path.read_bytes()
        if path.suffix == ".html":
            raw = SECONDS.sub(b"", raw)
        if path.suffix == ".xml":
            raw = UNUID.sub(b"", raw)
        out[str(path.relative_to(run))] = hashlib.sha256(raw).hexdigest()
    return out


def state_of(run: Path) -> str:
    """Return how far a run was, by its files."""
    if (run / ".report.done").exists():
        return "after the report"
    if (run / ".mosaic.done").exists():
        return "writing the report"
    if (run / "solution.json").exists():
        return "drawing"
    if (run / "matches").exists():
        return "solving" if (run / "matches" / "0" / "all.parquet").exists() else "matching"
    return "starting"


def stored(run: Path) -> set[tuple[str, ...]]:
    """Return the keys of what is stored: stage, fixed, moving."""
    table = MatchStore(run / "matches" / "0").columns(("stage", "fixed", "moving"))
    return set(zip(*(column.to_pylist() for column in table.columns), strict=True))


def asked_in(log: Path) -> list[tuple[str, ...]]:
    """Return stage, fixed, moving of the pairs that were handed out."""
    if not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("]")]
    return [(line[0], *pair) for line in lines if line for pair in line[1]]


def killed_and_resumed(layout: Path, folder: Path, workers: int, times: Sequence[float], log: Path) -> Trial:
    """Return what became of a run that was killed at some times of its work, s, and then left alone."""
    trial = Trial(workers)
    run = folder / "run"
    before = 0.0
    for number, at in enumerate([*times, None]):
        known = stored(run)
        mine = log.with_name(f"{log.name}.{number}")
        pid = started(words(layout, run, workers), mine)
        code = until_begun(pid, mine) if number else None  # the clock runs on where it stopped
        if code is None:
            code = waited(pid, None if at is None else at - before)
        if code is None:
            os.kill(pid, signal.SIGKILL)
            waited(pid)
            trial.kills.append(state_of(run))
        elif code:
            raise SystemExit(f"exit code {code}: {mine.with_suffix('.out').read_text()[-2000:]}")
        before = before if at is None else at
        asked = asked_in(mine)
        trial.asked += len(asked)
        trial.twice += len(set(asked) & known)
    return trial


def compared(trial: Trial, run: Path, whole: dict[str, str]) -> None:
    """Note which files differ."""
    found = digests(run)
    trial.differs = sorted(name for name in {*found, *whole} if found.get(name) != whole.get(name))


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Path]:
    """Yield a new folder that is a file system of so many kB."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def may_mount(folder: Path) -> bool:
    """Return whether small file systems can be made here."""
    try:
        with small_disk(folder, 100):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def on_full_disk(layout: Path, size_kb: int, whole: dict[str, str], log: Path) -> tuple[str, Trial]:
    """Return what was said when the disk was full, and what became of the run when there was room again."""
    with small_disk(log.with_suffix(""), size_kb) as folder:
        trial = Trial(1)
        run = folder / "run"
        code = waited(started(words(layout, run, 1), log))
        said = log.with_suffix(".out").read_text().strip()
        if code != 1 or "\n" in said or "disk is full" not in said:
            raise SystemExit(f"a full disk: exit code {code}, said {said!r}")
        trial.kills.append(state_of(run))
        known = stored(run)
        subprocess.run(["mount", "-o", "remount,size=2g", str(folder)], check=True)
        again = log.with_name(f"{log.name}.again")
        code = waited(started(words(layout, run, 1), again))
        if code:
            raise SystemExit(f"after a full disk: exit code {code}: {again.with_suffix('.out').read_text()}")
        trial.asked = len(asked_in(log)) + len(asked_in(again))
        trial.twice = len(set(asked_in(again)) & known)
        compared(trial, run, whole)
        return said, trial


def row(name: str, cells: Sequence[object]) -> None:
    """Print a row of the fault log."""
    print(f"| {name} | " + " | ".join(str(c) for c in cells) + " |", flush=True)


def said_of(trial: Trial) -> list[object]:
    """Return the cells of a trial."""
    at = ", ".join(f"{what} {n}" if n > 1 else what for what, n in Counter(trial.kills).items())
    return [trial.workers, at, trial.asked, trial.twice, ", ".join(trial.differs) or "same"]


def main(progress: Callable[[str], None] = print) -> int:
    """Run the trials; exit code 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--side", type=int, default=20, help="tiles along a side")
    parser.add_argument("--tile", type=int, default=96, help="side of a tile, px")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-disks", action="store_true")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    random.seed(given.seed)
    home = Path(tempfile.mkdtemp(prefix="faults_"))
    try:
        layout = made_scene(home / "scene", given.side, given.tile)
        began = time.monotonic()
        code = waited(started(words(layout, home / "whole" / "run", 1), home / "whole.log"))
        if code:
            raise SystemExit((home / "whole.out").read_text())
        length = time.monotonic() - began
        whole = digests(home / "whole" / "run")
        number = len(asked_in(home / "whole.log"))
        progress(f"undisturbed: {length:.1f} s, {number} pairs asked about, {len(whole)} files\n")
        bad = kills = n = 0
        row("run", ["workers", "killed while", "pairs asked", "asked again though stored", "files"])
        row("---", ["---"] * 5)
        while kills < given.kills:
            n += 1
            folder = home / f"trial{n}"
            folder.mkdir()
            times = sorted(random.uniform(0, length) for _ in range(min(KILLS_A_RUN, given.kills - kills)))
            trial = killed_and_resumed(layout, folder, 1 + n % 2, times, home / f"trial{n}.log")
            compared(trial, folder / "run", whole)
            bad += bool(trial.differs) or trial.twice > 0
            kills += len(trial.kills)
            row(f"{n}", said_of(trial))
            shutil.rmtree(folder)
        if given.no_disks or not may_mount(home / "small"):
            progress("\nfull disks left out: small file systems cannot be made here (root on Linux can)")
        else:
            total = sum(p.stat().st_size for p in (home / "whole" / "run").rglob("*") if p.is_file()) // 1024
            for n, share in enumerate((0.05, 0.3, 0.6, 0.9)):
                said, trial = on_full_disk(layout, int(share * total), whole, home / f"disk{n}.log")
                bad += bool(trial.differs) or trial.twice > 0
                row(f"disk of {int(share * total)} kB", said_of(trial))
            progress(f"\nwhat a full disk says: {said}")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        progress(f"\n{kills} kills; runs that ended otherwise: {bad}; largest process {peak:.0f} MB")
        return 1 if bad else 0
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
