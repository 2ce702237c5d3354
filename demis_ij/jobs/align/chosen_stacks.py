"""The part of a stack that is wanted, and the same part of its labels and channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from demis_ij.errors import InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.records import Stack
from demis_ij.runs import slug


def chosen_of_stack(stack: Stack, *, sections: Sequence[str] = (), span: tuple[float, float] | None = None) -> Stack:
    """Return the part of a stack that is wanted.

    Parameters
    ----------
    stack : Stack
        All sections.
    sections : sequence of str
        Ids; all when empty.
    span : tuple of float, optional
        First and last section number.

    Raises
    ------
    InputError
        When an id is unknown, or nothing is left.
    """
    unknown = next((name for name in sections if name not in stack.ids), None)
    if unknown is not None:
        msg = f"no section {unknown!r} in the stack; there are {', '.join(stack.ids[:12])}{' ...' * (len(stack) > 12)}"
        raise InputError(msg)
    keep = [
        i
        for i, (tile, z) in enumerate(zip(stack, stack.z, strict=True))
        if (not sections or tile.id in sections) and (span is None or span[0] <= z <= span[1])
    ]
    if not keep:
        msg = f"no section of the stack is wanted: its numbers go from {stack.z[0]:g} to {stack.z[-1]:g}"
        raise InputError(msg)
    return replace(stack, sections=tuple(stack[i] for i in keep), z=tuple(stack.z[i] for i in keep))


def companion_of(other: Stack, stack: Stack, wanted: Stack) -> Stack:
    """Return the wanted sections of labels or of another channel, numbered as the stack is.

    Parameters
    ----------
    other : Stack
        Labels or another channel.
    stack : Stack
        The whole stack that is aligned, of as many sections.
    wanted : Stack
        The part of it that is wanted.

    Raises
    ------
    InputError
        When ``other`` has not as many sections as ``stack``.
    """
    if len(other) != len(stack):
        msg = f"{other.source}: {len(other)} sections, the stack has {len(stack)}: one for each is needed"
        raise InputError(msg)
    sections = tuple(other[stack.ids.index(name)] for name in wanted.ids)
    return replace(other, sections=sections, z=wanted.z)


def channels_of(paths: Sequence[Path], stack: Stack, wanted: Stack) -> dict[str, Stack]:
    """Return channels by the names of their volumes, which are those of their folders or files.

    Parameters
    ----------
    paths : sequence of Path
        Each a stack of as many sections.
    stack, wanted : Stack
        The whole stack that is aligned, and the part of it that is wanted.

    Raises
    ------
    InputError
        When two would have the same name, or one has not as many sections as the stack.
    """
    found: dict[str, Stack] = {}
    for path in paths:
        name = path.stem.removesuffix(".ome") or path.name
        if slug(name) in map(slug, found):
            msg = f"two channels would be written as {name!r}: rename {path}, a volume is called as its channel"
            raise InputError(msg)
        found[name] = companion_of(read_stack(path), stack, wanted)
    return found
