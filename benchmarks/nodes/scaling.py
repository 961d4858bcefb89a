"""How long a training step takes on many nodes: a model of few constants, and what measures them.

``python -m benchmarks scaling`` measures this machine and prints what the model says of 2 to 1,024 machines like it.
docs/scaling.md explains the model and how it was checked (:mod:`benchmarks.nodes.shaped`).
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

import fastcnn
from fastcnn.benchmark import ranks
from fastcnn.benchmark.networks import NETWORKS
from fastcnn.distributed.group import Group
from fastcnn.training.data_parallel.gradients import BUCKET, into_buckets

NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SMALL, LARGE = 4, 32 << 20  # bytes of the sums by which latency and bandwidth are measured
TCP = {"UCX_TLS": "tcp,self"}  # MPICH's transport: sockets, as between machines, and not shared memory
HEADERS = 0.95  # of a link's bytes are those of messages; TCP's, IP's and Ethernet's headers take the others
JITTERS = 0.01, 0.1  # of nodes that nobody else uses, and of shared ones: assumptions, as WIRE is

# Seconds that cards and a switch add to a message: with sockets, and where cards read memory themselves (RDMA).
WIRE = {"10 Gb/s": 5e-6, "100 Gb/s": 2e-6}


@dataclass(frozen=True)
class Interconnect:
    """Seconds that a message takes however small it is, and the bytes/s that a node sends, receives and adds up."""

    latency: float
    bandwidth: float

    def sum_time(self, size: int, nodes: int) -> float:
        """Seconds to add up `size` bytes over `nodes` by recursive halving and doubling: Thakur, Rabenseifner and
        Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), section 4.5."""
        if nodes == 1:
            return 0.0
        rounds, share = 2 * math.ceil(math.log2(nodes)), (nodes - 1) / nodes
        return rounds * self.latency + 2 * share * size / self.bandwidth


@dataclass(frozen=True)
class Training:
    """A training on one node, without sums: a step of n images takes ``fixed + n * per_image`` seconds, of which the
    share `backward` is the backward pass. `buckets` are the bytes of each sum and the share of the backward pass after
    which it leaves. `jitter` is the standard deviation of a step, as a share of it.
    """

    fixed: float
    per_image: float
    backward: float
    buckets: tuple[tuple[int, float], ...]
    jitter: float

    def compute(self, images: float) -> float:
        return self.fixed + self.per_image * images

    def exposed(self, images: float, nodes: int, network: Interconnect) -> float:
        """Seconds in which the sums are waited for after the backward pass: each begins when its gradients are there
        and the one before has ended."""
        whole = self.compute(images)
        end = begin = whole * (1 - self.backward)
        for size, share in self.buckets:
            end = max(end, begin + share * self.backward * whole) + network.sum_time(size, nodes)
        return max(0.0, end - whole)

    def step(self, images: float, nodes: int, network: Interconnect) -> float:
        """Seconds of a step of `images` on each of `nodes`: the slowest of them, and the sums that are not hidden."""
        return self.compute(images) * (1 + self.jitter * largest(nodes)) + self.exposed(images, nodes, network)


def largest(count: int) -> float:
    """The largest of so many standard normal numbers, as expected: Blom, "Statistical Estimates and Transformed
    Beta-Variables" (1958)."""
    return statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def buckets(name: str, batch: int, times: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """The bytes of each bucket, and the share of the backward pass after which it leaves."""
    loop = ranks.make_loop(Group(), name, batch)
    done, top = np.cumsum(times[1:]), len(loop.model.body) - 1
    made = into_buckets(loop.optimizer, BUCKET)
    return tuple((bucket.nbytes, float(done[top - bucket.last] / done[-1])) for bucket in made)


def measure_training(name: str, batches: Sequence[int] = (4, 16, 64), rounds: int = 5, steps: int = 10) -> Training:
    """A training on this machine, with all threads that are on."""
    times = ranks.backward_times(name, batches[-1])
    found: dict[int, list[float]] = {batch: [] for batch in batches}
    with ranks.Job(1, fastcnn.get_num_threads()) as job:
        for _ in range(rounds):
            for batch in batches:
                found[batch] += job.measure(name, batch, steps).steps
    medians = [statistics.median(found[batch]) for batch in batches]
    # Relative errors count alike: a plain least-squares line would be decided by the largest batch.
    weights = 1 / np.array(medians)
    per_image, fixed = np.polyfit(batches, medians, 1, w=weights)
    spread = np.subtract(*np.percentile(found[batches[-1]], [84, 50])) / medians[-1]
    backward = sum(times[1:]) / sum(times)
    return Training(max(0.0, fixed), per_image, backward, buckets(name, batches[-1], times), spread)


def measure_network(command: Sequence[str] | None = None, **variables: str) -> Interconnect:
    """Latency and bandwidth of sums of two processes, on this machine or as `command` starts them."""
    with ranks.Job(2, 1, command, **variables) as job:
        found = [job.sum_alone(size, repeats) for size, repeats in ((SMALL, 300), (LARGE, 30))]
    small, large = np.quantile(found[0], 0.1), np.quantile(found[1], 0.1)  # what others disturb is `jitter`
    return Interconnect(small, LARGE / (large - 2 * small))  # a small sum of two is one message each way


def table(training: Training, images: float, shared: bool, networks: dict[str, Interconnect]) -> list[str]:
    """For each number of nodes the step, with the first of `JITTERS`, and the efficiency with each of them: the share
    of the speed that as many nodes would have that never wait. With `shared`, `images` is the batch of all nodes, else
    that of each."""
    shares = "".join(f" {f'{jitter:.0%} jitter':>11}" for jitter in JITTERS)
    rows = [f"{'nodes':>6} {'images each':>12}" + "".join(f" {name + ' ms':>12}{shares}" for name in networks)]
    alone = training.compute(images)
    for nodes in NODES:
        each = images / nodes if shared else images
        row = f"{nodes:>6} {each:>12g}"
        for network in networks.values():
            steps = [replace(training, jitter=jitter).step(each, nodes, network) for jitter in JITTERS]
            row += f" {steps[0] * 1e3:>12.2f}"
            row += "".join(f" {alone / (nodes if shared else 1) / step:>11.1%}" for step in steps)
        rows.append(row)
    return rows


def networks() -> dict[str, Interconnect]:
    """Networks of machines like this one, as fast as the link or as what carries the messages here: sockets, and for
    100 Gb/s, which sockets do not reach, shared memory."""
    carriers = {"10 Gb/s": measure_network(**TCP), "100 Gb/s": measure_network()}
    found = {}
    for (name, carrier), gigabits in zip(carriers.items(), (10, 100), strict=True):
        print(f"{name}: here {carrier.latency * 1e6:.1f} us a message, {carrier.bandwidth / 1e9:.2f} GB/s")
        link = HEADERS * gigabits * 1e9 / 8
        found[name] = Interconnect(carrier.latency + WIRE[name], min(link, carrier.bandwidth))
    return found


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks scaling") -> int:
    parser = argparse.ArgumentParser(prog, description=(__doc__ or "").split("\n")[0])
    known = parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    known.choices, known.default = [*NETWORKS, []], []
    names = parser.parse_args(arguments).networks or ["lenet", "vgg_small"]
    made = networks()
    for name in names:
        training = measure_training(name)
        sums = ", ".join(f"{size:,} bytes after {share:.0%}" for size, share in training.buckets)
        print(f"\n{name}: {training.fixed * 1e3:.2f} ms + {training.per_image * 1e3:.3f} ms an image,")
        print(f"the backward pass {training.backward:.0%} of it; sums of {sums} of that; jitter {training.jitter:.1%}")
        for images, shared in ((64, False), (1024, True)):
            print(f"\n{name}, a batch of {f'{images} on all nodes together' if shared else f'{images} on each node'}")
            print("\n".join(table(training, images, shared, made)))
    return 0
