"""Weights: find, verify, load, save.

Weights that ship lie in ``demis_ij/weights`` as safetensors whose metadata hold the architecture and a card. Other
names are paths of checkpoints (LoFTR's and DEMIS's ``.ckpt``, strict) or kornia's pretrained names, which are
downloaded once, with a checksum.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from kornia.feature.loftr.loftr import LoFTR
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from demis_ij.errors import WeightsError
from demis_ij.nets.loftr import build, infer_architecture


@dataclass(frozen=True)
class Download:
    """Weights that somebody else publishes.

    Attributes
    ----------
    urls : tuple of str
        Tried in this order.
    file : str
        Name in the cache.
    digest : str
        SHA-256, hexadecimal.
    temp_bug_fix : bool
        Whether it was trained with the corrected positional encoding.
    """

    urls: tuple[str, ...]
    file: str
    digest: str
    temp_bug_fix: bool


_HUB = "https://huggingface.co/kornia/loftr/resolve/main"
_CMP = "https://cmp.felk.cvut.cz/~mishkdmy/models"
DOWNLOADS: dict[str, Download] = {
    "outdoor": Download(
        (f"{_HUB}/loftr_outdoor.ckpt", f"{_CMP}/loftr_outdoor.ckpt"),
        "loftr_outdoor.ckpt",
        "21f5bec5968178e8bc8b7633441836fe5de4f47d861dd2cd7dc38e271b0479ec",
        temp_bug_fix=False,
    ),
    "indoor_new": Download(
        (f"{_HUB}/loftr_indoor_ds_new.ckpt", f"{_CMP}/loftr_indoor_ds_new.ckpt"),
        "loftr_indoor_ds_new.ckpt",
        "be9ff88b323ec27889114719f668ae41aff7034b56a4c4acbd46b8b180b87ed3",
        temp_bug_fix=True,
    ),
}
"""kornia's pretrained LoFTR, by kornia's names; MegaDepth (outdoor) and ScanNet (indoor_new)."""


@dataclass(frozen=True, eq=False)
class LoadedLoftr:
    """A network ready to match.

    Attributes
    ----------
    net : LoFTR
        In evaluation mode.
    half_pixel : float
        What to subtract from its points.
    name : str
        What it is, for the report.
    """

    net: LoFTR
    half_pixel: float
    name: str


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file under a temporary name, then rename it: all or nothing. An error leaves what was there."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as sink:
            sink.write(data)
            sink.flush()
            os.fsync(sink.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of tensors with their names and shapes, hexadecimal."""
    found = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def save_weights(
    path: Path, state: Mapping[str, torch.Tensor], architecture: dict[str, Any], *, half_pixel: float, card: Any
) -> None:
    """Write safetensors with the architecture, a card and a checksum as metadata, all or nothing."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    facts = {"architecture": json.dumps(architecture), "half_pixel": repr(half_pixel), "card": json.dumps(card)}
    write_whole(path, save(tensors, metadata=facts | {"sha256": state_digest(tensors)}))


def shipped(name: str = "loftr_em") -> Path:
    """Return the path of weights that ship. Raises `WeightsError` when the installation lacks them."""
    path = Path(str(files("demis_ij") / "weights" / f"{name}.safetensors"))
    if not path.is_file():
        msg = f"the weights that ship are missing from this installation: {path.name} (reinstall demis_ij)"
        raise WeightsError(msg)
    return path


UNREADABLE = (
    SafetensorError, RuntimeError, OSError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError,
    AssertionError, struct.error,
)  # fmt: skip
"""What torch and safetensors raise on bytes that are something else."""


def first_line(error: Exception) -> str:
    """Return the first line of what an error says; its kind when it says nothing, or no more than a number."""
    lines = str(error).splitlines()
    return lines[0] if lines and not lines[0].isdigit() else type(error).__name__


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of safetensors or of a LoFTR ``.ckpt``. Raises `WeightsError`."""
    if not path.is_file():
        msg = f"no weights at {path}"
        raise WeightsError(msg)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as source:
                return {k: source.get_tensor(k) for k in source.keys()}  # noqa: SIM118 - not a mapping
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, pickle.UnpicklingError) as error:
        kind = "safetensors" if path.suffix == ".safetensors" else "a checkpoint of PyTorch"
        msg = f"{path} cannot be read as weights: it is no whole file of {kind} ({first_line(error)})"
        raise WeightsError(msg) from error
    state = raw.get("state_dict", raw) if isinstance(raw, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        msg = f"{path} holds no state_dict of tensors"
        raise WeightsError(msg)
    return {k.removeprefix("matcher."): v for k, v in state.items()}


def _metadata(path: Path) -> dict[str, str]:
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as source:
        return dict(source.metadata() or {})


def _architecture(
    state: Mapping[str, torch.Tensor], meta: Mapping[str, str], fix: bool | None
) -> tuple[dict[str, Any], float]:
    """Return kornia's configuration and the half pixel: as the file says, else as its tensors show."""
    if "architecture" in meta:
        return json.loads(meta["architecture"]), float(meta["half_pixel"])
    found = infer_architecture(state)
    found.config["coarse"]["temp_bug_fix"] = True if fix is None else fix
    return found.config, found.half_pixel


def load_loftr(name: str = "shipped") -> LoadedLoftr:
    """Return a LoFTR by the name of its weights.

    Parameters
    ----------
    name : str
        ``shipped``, a path, or kornia's ``outdoor`` / ``indoor_new`` (downloaded when online).

    Raises
    ------
    WeightsError
        When they are missing, damaged, or do not fit exactly.
    """
    fix: bool | None = None
    if name == "shipped":
        path = shipped()
    elif name in DOWNLOADS:
        path, fix = fetch(DOWNLOADS[name]), DOWNLOADS[name].temp_bug_fix
    else:
        path = Path(name)
        if not path.is_file():
            known = ", ".join(["shipped", *DOWNLOADS])
            msg = f"no weights {name!r}: neither a file nor one of {known}"
            raise WeightsError(msg)
    state, meta = load_state(path), _metadata(path)
    if "sha256" in meta and state_digest(state) != meta["sha256"]:
        msg = f"{path} is damaged: its tensors do not have the checksum that was written with them"
        raise WeightsError(msg)
    try:
        config, half = _architecture(state, meta, fix)
        net = build(config)
        wanted = {k for k in net.state_dict() if not k.endswith("num_batches_tracked")}
        missing = sorted(wanted - set(state))
        extra = sorted(k for k in set(state) - set(net.state_dict()) if not k.endswith("pos_encoding.pe"))
        if missing or extra:
            msg = f"{path} is not a LoFTR checkpoint: missing {missing[:3]}, unexpected {extra[:3]}"
            raise WeightsError(msg)
        net.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)
    except (KeyError, IndexError) as error:
        msg = f"{path} is not a LoFTR checkpoint: it lacks {error.args[0]}"
        raise WeightsError(msg) from error
    except (RuntimeError, ValueError, TypeError) as error:
        lines = str(error).splitlines()
        said = lines[1].strip() if len(lines) > 1 else str(error)  # torch lists every tensor; the first one says it
        msg = f"{path} does not fit the architecture that it names: {said}"
        raise WeightsError(msg) from error
    return LoadedLoftr(net.eval(), half, name if name == "shipped" else path.name)


def cache_folder() -> Path:
    """Return where downloads are kept (torch's own hub folder)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch(source: Download) -> Path:
    """Return the file of a download, from the cache or the network, its checksum verified.

    Raises
    ------
    WeightsError
        When it is not in the cache and cannot be downloaded (the message says how to do it by hand), or when its
        checksum is wrong.
    """
    target = cache_folder() / source.file
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(f".{os.getpid()}.part")
        problems = []
        for url in source.urls:
            try:
                with urllib.request.urlopen(url, timeout=30) as answer, part.open("wb") as sink:
                    shutil.copyfileobj(answer, sink)
                verify(part, source.digest)
                part.replace(target)
                break
            except (urllib.error.URLError, OSError, TimeoutError) as error:
                problems.append(f"{url}: {error}")
            finally:
                part.unlink(missing_ok=True)
        else:
            msg = (
                f"{source.file} cannot be downloaded ({'; '.join(problems)}). On a machine that is online, download "
                f"{source.urls[0]} and put it at {target}, or use --weights shipped."
            )
            raise WeightsError(msg)
    verify(target, source.digest)
    return target


def verify(path: Path, digest: str) -> None:
    """Raise `WeightsError` when the SHA-256 of a file is not ``digest``."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        msg = f"{path}: its SHA-256 is {found}, needed {digest}: delete it and download it again"
        raise WeightsError(msg)
