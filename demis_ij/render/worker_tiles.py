"""The tiles that a worker keeps: read for brightness first, drawn afterwards."""

from __future__ import annotations

from demis_ij.images import TileStore
from demis_ij.pools import Kept

_STORES: Kept[TileStore] = Kept(1)


def worker_tiles(store_bytes: int) -> TileStore:
    """Return the store of this worker, the same one as long as the same size is asked for."""
    return _STORES.get(store_bytes, lambda: TileStore(store_bytes))
