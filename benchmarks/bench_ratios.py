"""How the numba backend stands to its rivals: one time over another, so lower is better and asv finds what rose.

The contestants take turns, each in a process of its own, as in ``fastcnn bench``; the ratio is that of the quickest
runs. A rival that became slower lowers it: what a commit did to the numba backend alone, the other suites say.
"""

from benchmarks.common import contest, need, skipped_where_older

WORKLOADS = ["lenet", "vgg_small"]
ROUNDS = 3


class Ratio:
    params = (["numba"], ["numpy", "torch"], WORKLOADS)
    param_names = ("backend", "rival", "workload")
    version = "1"
    unit = "times the rival's"
    timeout = 300

    def setup(self, backend: str, rival: str, workload: str) -> None:
        need(rival)
        with skipped_where_older(), contest([backend, rival]) as running:
            seconds = running.measure(workload, rounds=ROUNDS)
            best = {
                name: min(run for turns in variants.values() for turn in turns for run in turn)
                for name, variants in seconds.items()
            }
            self.ratio = best[backend] / best[rival]

    def track_ratio(self, backend: str, rival: str, workload: str) -> float:
        return self.ratio
