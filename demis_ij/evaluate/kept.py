"""Scores on disk, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from demis_ij.evaluate.scores import T, from_json, to_json


class Kept:
    """Remembers the scores of a configuration on a scene, one file each, written whole or not at all.

    Parameters
    ----------
    folder : Path or None
        Made when it is first needed; None remembers nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def _path(self, key: tuple[object, ...]) -> Path | None:
        name = hashlib.sha256(json.dumps(key, default=str).encode()).hexdigest()[:20]
        return None if self._folder is None else self._folder / f"{name}.json"

    def get(self, kind: type[T], *key: object) -> list[T] | None:
        """Return the scores kept under a key; None when there are none, or the file is damaged."""
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            return [from_json(kind, value) for value in json.loads(path.read_text(encoding="utf-8"))]
        except (ValueError, KeyError, TypeError):
            return None  # measured again, and written anew

    def put(self, scores: Sequence[T], *key: object) -> None:
        """Keep scores under a key."""
        path = self._path(key)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps([to_json(s) for s in scores], allow_nan=False), encoding="utf-8")
        part.replace(path)
