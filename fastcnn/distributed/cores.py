"""How many threads a rank may use, as the ranks of a node share its cores."""

import math
import os
from typing import Any

from fastcnn.distributed.failures import launched_on_node
from fastcnn.threads import affinity, quota


def threads_per_rank(comm: Any) -> int:
    """The most threads that this rank of `comm` may use without sharing cores with other ranks of its node; at least 1.

    Ranks outside `comm` count too, where the launcher says how many it has started on the node.
    """
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    cores = node.allgather(affinity())
    own, sharers, ranks = cores[node.rank], sum(bool(other & cores[node.rank]) for other in cores), node.size
    node.Free()
    launched = math.ceil(launched_on_node() * len(own) / (os.cpu_count() or 1))
    most, limit = len(own) // max(sharers, launched), quota()
    if limit:  # of all ranks in the container together, whichever cores each of them runs on
        most = min(most, limit.threads // max(ranks, launched_on_node()))
    return max(1, most)
