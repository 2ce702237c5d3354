"""Run the notebooks of ``docs/tutorials`` and keep what they show: ``python docs/make_tutorials.py [1 2 ...]``.

Each runs in a kernel process of this Python, in an empty folder. What differs from machine to machine or from run to
run and tells nobody anything is made the same: cell ids, execution counts, times, names of folders.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import nbformat
import numpy as np
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

TUTORIALS = Path(__file__).resolve().parent / "tutorials"
LONGEST_S = 300
"""A cell that takes longer hangs."""
LARGEST_PNG = 60_000
"""A larger one, characters of base 64, is kept as JPEG."""
LONGEST_TEXT = 300
"""Text that stands beside a picture or a table of the same thing is kept up to so many characters."""


class ThisPython(KernelSpecManager):
    """Knows one kernel: ipykernel in the Python that runs this. Nothing has to be installed for it."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the kernel, whatever it is called."""
        command = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python", metadata={"debugger": False})


class OwnKernel(AsyncKernelManager):
    """Starts that kernel."""

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return ThisPython()


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return a copy of a notebook, run from its first cell to its last in ``folder``.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell fails.
    """
    fresh: NotebookNode = nbformat.from_dict(notebook)
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(fresh, kernel_manager_class=OwnKernel, timeout=LONGEST_S, resources=where)
    with own_event_loop():
        return client.execute()


@contextmanager
def own_event_loop() -> Iterator[None]:
    """Give nbclient an event loop that is closed when it is done."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def normalised(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Return a notebook without what differs from run to run: ids, counts, times, the folder it ran in."""
    clean: NotebookNode = nbformat.from_dict(notebook)
    clean.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    number = 0
    for i, cell in enumerate(clean.cells):
        cell["id"] = f"cell-{i + 1}"
        cell["metadata"] = {k: v for k, v in cell.metadata.items() if k != "execution"}
        if cell.cell_type != "code":
            continue
        number += 1
        cell["execution_count"] = number
        cell["outputs"] = _joined([_output(o, number, folder) for o in cell.outputs])
    return clean


def _output(output: Any, number: int, folder: Path) -> Any:
    if "execution_count" in output:
        output["execution_count"] = number
    if "text" in output:
        output["text"] = _without_folder(output["text"], folder)
    if "data" in output:
        data = {kind: _without_folder(value, folder) for kind, value in output["data"].items()}
        if len(data) > 1 and len(data.get("text/plain", "")) > LONGEST_TEXT:
            del data["text/plain"]
        if len(data.get("image/png", "")) > LARGEST_PNG:
            data["image/jpeg"] = as_jpeg(data.pop("image/png"))
        output["data"], output["metadata"] = data, {}
    output.pop("transient", None)
    return output


def as_jpeg(png: str) -> str:
    """Return a PNG, both in base 64, as a JPEG: tissue with noise is five times smaller so."""
    image = cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_COLOR)
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_OPTIMIZE, 1])
    return base64.b64encode(coded.tobytes()).decode("ascii")


def _without_folder(value: Any, folder: Path) -> Any:
    if not isinstance(value, str):
        return value
    return value.replace(f"{folder}/", "").replace(str(folder), ".")


def _joined(outputs: list[Any]) -> list[Any]:
    """Return the outputs with pieces of one stream that came one after the other as one."""
    joined: list[Any] = []
    for o in outputs:
        if joined and o.output_type == "stream" == joined[-1].output_type and o.name == joined[-1].name:
            joined[-1]["text"] += o["text"]
        else:
            joined.append(o)
    return joined


def main() -> None:
    """Run the notebooks whose numbers are given, or all."""
    wanted = tuple(f"{n}_" for n in sys.argv[1:]) or ("",)
    for path in sorted(p for p in TUTORIALS.glob("*.ipynb") if p.name.startswith(wanted)):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve()
            shown = normalised(executed(notebook, folder), folder)
        nbformat.validate(shown)
        part = path.with_name(f".{path.name}.part")
        nbformat.write(shown, part)
        part.replace(path)
        sys.stdout.write(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
