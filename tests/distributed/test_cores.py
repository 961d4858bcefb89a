"""How ranks share the cores of a node, and a container's quota."""

from pathlib import Path

import pytest

pytest.importorskip("mpi4py")

from fastcnn.distributed import cores
from fastcnn.quota import Quota

pytestmark = pytest.mark.mpi


class Node:
    """Stands for a communicator of ranks on one node, which may run on the cores in `affinities`; this is the first."""

    rank = 0

    def __init__(self, *affinities):
        self.affinities, self.size = affinities, len(affinities)

    def Split_type(self, kind):  # noqa: N802 - MPI's name
        return self

    def allgather(self, own):
        return self.affinities

    def Free(self):  # noqa: N802 - MPI's name
        pass


ALL, LEFT, RIGHT = set(range(8)), set(range(4)), set(range(4, 8))


@pytest.mark.parametrize(
    ("affinities", "cpus", "threads"),
    [
        ([ALL], None, 8),
        ([ALL] * 2, None, 4),
        ([LEFT, RIGHT], None, 4),
        ([ALL], 3, 3),
        ([ALL] * 2, 4, 2),
        ([LEFT, RIGHT], 4, 2),  # a quota is of both together, whichever cores they run on
        ([LEFT, RIGHT], 1.5, 1),
        ([ALL] * 2, 100, 4),
    ],
)
def test_threads_of_a_rank(monkeypatch, affinities, cpus, threads):
    monkeypatch.setattr(cores, "quota", lambda: cpus and Quota(cpus, Path("/cpu.max")))
    monkeypatch.setattr(cores, "launched_on_node", lambda: 0)
    assert cores.threads_per_rank(Node(*affinities)) == threads
