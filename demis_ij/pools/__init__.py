"""Workers: in this process, in processes beside it, or on a cluster; the results are the same."""

from demis_ij.pools.cores import cores
from demis_ij.pools.kept import Kept
from demis_ij.pools.opening import open_pool
from demis_ij.pools.tasks import Done, Pool

__all__ = ["Done", "Kept", "Pool", "cores", "open_pool"]
