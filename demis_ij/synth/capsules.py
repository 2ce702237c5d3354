"""What a volume of tissue consists of: rods with round ends, small balls, and blocks that hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(eq=False)
class Capsules:
    """Rods with round ends.

    Attributes
    ----------
    start, end : ndarray of shape (N, 3), float32
    radius : ndarray of shape (N, 2), float32
        At the start and at the end.
    owner : ndarray of shape (N,), int32
        Which object each belongs to, by its number in the block.
    along : ndarray of shape (N,), float32
        Length of the chain before this capsule.
    side : ndarray of shape (N, 2, 3), float32
        A direction across the chain at its start and end, turning smoothly.
    """

    start: NDArray[np.float32]
    end: NDArray[np.float32]
    radius: NDArray[np.float32]
    owner: NDArray[np.int32]
    along: NDArray[np.float32]
    side: NDArray[np.float32]

    def pick(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Capsules:
        """Return some of them."""
        return Capsules(
            self.start[which],
            self.end[which],
            self.radius[which],
            self.owner[which],
            self.along[which],
            self.side[which],
        )


@dataclass(eq=False)
class Spots:
    """Small balls: vesicles, synapses.

    Attributes
    ----------
    at : ndarray of shape (N, 3), float32
    radius : ndarray of shape (N,), float32
    owner : ndarray of shape (N,), int32
        The object they lie in.
    trait : ndarray of shape (N,), float32
        A number in [0, 1) of each.
    """

    at: NDArray[np.float32]
    radius: NDArray[np.float32]
    owner: NDArray[np.int32]
    trait: NDArray[np.float32]

    def pick(self, which: NDArray[np.bool_]) -> Spots:
        """Return some of them."""
        return Spots(self.at[which], self.radius[which], self.owner[which], self.trait[which])


@dataclass(eq=False)
class Block:
    """All that began in one block.

    Attributes
    ----------
    first : int
        Label of its object 0.
    kind : ndarray of shape (n,), uint8
    hard : ndarray of shape (n,), float32
        How little the border of each object gives way to its neighbours.
    trait : ndarray of shape (n, 6), float32
        Numbers in [0, 1), the character of each object.
    body : Capsules
    mitochondria, nuclei : Capsules
        Their owners are numbered by themselves; ``inside`` and ``nucleus_of`` say which object each lies in.
    vesicles, synapses : Spots
    """

    first: int
    kind: NDArray[np.uint8]
    hard: NDArray[np.float32]
    trait: NDArray[np.float32]
    body: Capsules
    mitochondria: Capsules
    mito_of: NDArray[np.int32]
    mito_trait: NDArray[np.float32]
    nuclei: Capsules
    nucleus_of: NDArray[np.int32]
    vesicles: Spots
    synapses: Spots


def joined_capsules(parts: list[Capsules], first: NDArray[np.intp]) -> Capsules:
    """Return the capsules of several blocks, owners numbered on from ``first`` of each."""
    names = ("start", "end", "radius", "owner", "along", "side")
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in names]
    columns[3] = np.concatenate([p.owner + n for p, n in zip(parts, first, strict=True)]).astype(np.int32)
    return Capsules(*columns)


def joined_spots(parts: list[Spots], first: NDArray[np.intp]) -> Spots:
    """Return the spots of several blocks, owners numbered on from ``first`` of each."""
    owner = np.concatenate([p.owner + n for p, n in zip(parts, first, strict=True)]).astype(np.int32)
    return Spots(
        np.concatenate([p.at for p in parts]), np.concatenate([p.radius for p in parts]), owner,
        np.concatenate([p.trait for p in parts]),
    )  # fmt: skip
