"""The menu as Fiji runs it: a tree of scripts with its Python, layouts to stitch, and what came of a command."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from demis_ij import fiji

HERE = Path(__file__).resolve().parent
DRIVER = HERE / "run_command.groovy"
HOSTILE = "Präparat #1 & more + 50%"
"""Blanks, the signs that URLs, shells and properties trip over, and a letter that is not ASCII."""
GUARD_S = 300


@dataclass(frozen=True)
class Outcome:
    """What a command left: its outputs as text, tables as rows, pictures as facts; log lines and task events."""

    outputs: Mapping[str, Any]
    log: tuple[str, ...]
    events: tuple[Mapping[str, Any], ...]
    failure: str | None = None
    canceled: bool = False
    entries: tuple[str, ...] = ()

    @property
    def result(self) -> str:
        return str(self.outputs.get("result"))

    @property
    def logged(self) -> str:
        return "\n".join(self.log)


@dataclass
class Menu:
    """The installed scripts, and a way to run them: ``call(script, inputs)`` in some ImageJ."""

    home: Path
    scratch: Path
    call: Callable[[Path, Mapping[str, str]], None]
    count: int = field(default=0)

    @property
    def folder(self) -> Path:
        return self.home / "scripts" / fiji.MENU

    def copied(self, home: Path) -> Menu:
        """Return a menu of its own, whose files may be changed."""
        shutil.copytree(self.folder, home / "scripts" / fiji.MENU)
        return Menu(home, home, self.call)

    def run(
        self,
        command: str,
        *,
        cancel_at: int | None = None,
        user_home: Path | None = None,
        by_path: bool = False,
        tree: Path | None = None,
        in_the_middle: Callable[[], None] | None = None,
        **inputs: object,
    ) -> Outcome:
        """Run ``Command_Name`` with its ``#@`` inputs.

        ``cancel_at`` presses stop at that step of the progress; ``in_the_middle`` is called after the first one.
        ``by_path`` runs the file as ``--run`` does, not as the menu; ``tree`` is scanned for entries of the menu.
        """
        self.count += 1
        asked, report, flag = (self.scratch / f"{what}-{self.count}" for what in ("asked.json", "report.json", "flag"))
        given = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in inputs.items()}
        wanted = {"inputs": given, "cancel_at": cancel_at, "home": user_home and str(user_home)}
        wanted |= {"by_path": by_path, "tree": tree and str(tree)}
        asked.write_text(json.dumps({**wanted, "flag": str(flag) if in_the_middle else None}), encoding="utf-8")
        waiting = threading.Thread(target=when_there, args=(flag, report, in_the_middle), daemon=True)
        if in_the_middle:
            waiting.start()
        script = self.folder / f"{command}_(DEMIS).groovy"
        self.call(DRIVER, {"script": str(script), "asked": str(asked), "report": str(report)})
        facts = json.loads(report.read_text(encoding="utf-8"))
        return Outcome(
            facts["outputs"],
            tuple(facts["log"]),
            tuple(facts["events"]),
            facts["failure"],
            facts["canceled"],
            tuple(facts["entries"]),
        )


def made_fiji(folder: Path) -> Path:
    """Make a folder look like a Fiji."""
    for name in ("jars", "plugins"):
        (folder / name).mkdir(parents=True)
    return folder


def when_there(flag: Path, report: Path, act: Callable[[], None] | None) -> None:
    """Act once when the flag appears; give up when the command has ended."""
    guard = time.monotonic() + GUARD_S
    while time.monotonic() < guard and not report.exists():
        if flag.exists() and act is not None:
            act()
            return
        time.sleep(0.01)


def workers() -> list[psutil.Process]:
    """Return the workers below this process."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "demis_ij.worker" in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def kill_workers() -> None:
    """Kill them as the kernel does when memory is short."""
    for worker in workers():
        worker.kill()


def in_real_fiji(folder: Path) -> Callable[[Path, Mapping[str, str]], None]:
    """Return a way to run scripts through a Fiji's own launcher."""
    names = ("fiji-linux-x64", "fiji-linux-arm64", "fiji", "ImageJ-linux64", "fiji-windows-x64.exe")
    names += ("Contents/MacOS/fiji-macos-arm64", "Contents/MacOS/fiji-macos-x64", "Contents/MacOS/ImageJ-macosx")
    places = [folder / n for n in names] + [folder / "Fiji.app" / n for n in names]
    launcher = next((p for p in places if p.is_file()), None)
    if launcher is None:
        msg = f"--fiji {folder}: found none of the launchers {', '.join(names)}"
        raise FileNotFoundError(msg)

    def call(script: Path, inputs: Mapping[str, str]) -> None:
        words = ",".join(f"{key}='{value}'" for key, value in inputs.items())
        subprocess.run(
            [launcher, "--headless", "--run", script, words], check=True, timeout=GUARD_S, stdin=subprocess.DEVNULL
        )

    return call
