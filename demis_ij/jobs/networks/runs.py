"""The run folder of a network that is trained: who works in it, what may be in it, and what it was begun with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from demis_ij.config.reading import from_dict
from demis_ij.errors import DemisError, InputError
from demis_ij.runs.lock import FILE, occupied

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

CHECKPOINT = "checkpoint.pt"


@contextmanager
def training_run(out: Path, own: Sequence[str], *, as_it_stands: bool) -> Iterator[None]:
    """Work in a run folder, which is made; keep others out of it. What is refused leaves nothing behind.

    Parameters
    ----------
    out : Path
    own : sequence of str
        Names of which a run has one or more.
    as_it_stands : bool
        Whether weights are to be made of its checkpoint.

    Raises
    ------
    InputError
        When it is a file, holds something else, is in use, or has no checkpoint where one is needed.
    """
    there = {path for path in out.iterdir() if path.name != FILE} if out.is_dir() else set()
    if out.is_file() or (there and not any((out / name).exists() for name in own)):
        msg = f"--out {out} is a file, or a folder that holds something else: choose another"
        raise InputError(msg)
    if as_it_stands and not (out / CHECKPOINT).is_file():
        msg = f"{out} holds no checkpoint to make weights of: train first"
        raise InputError(msg)
    with occupied(out):
        try:
            yield
        except DemisError:
            if not (out / CHECKPOINT).exists():
                for path in {out / name for name in own} - there:
                    _take_away(path)
            raise


def _take_away(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def settings_begun_with(kind: type[T], path: Path, changed: dict[str, Any]) -> T:
    """Return the settings in a file with some changed; the defaults with them when there is no file.

    Raises
    ------
    InputError
        When the file cannot be read, or a name or value is wrong.
    """
    if not path.is_file():
        return from_dict(kind, changed)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as the settings of a training; delete it to begin anew"
        raise InputError(msg) from error
    if not isinstance(before, dict):
        msg = f"{path} holds no settings of a training; delete it to begin anew"
        raise InputError(msg)
    from_dict(kind, changed)  # unknown names are refused with the nearest one
    return replace(from_dict(kind, before), **changed)


__all__ = ["CHECKPOINT", "settings_begun_with", "training_run"]
