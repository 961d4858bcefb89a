"""The model of :mod:`benchmarks.nodes.scaling` against ranks in network namespaces with shaped links.

``python -m benchmarks shaped`` needs root, Linux, iproute2 and MPICH's mpiexec. Each host is a namespace with an
interface of its own that sends at most so many bits a second (a token bucket); the hosts are joined by a bridge, and
mpiexec starts a rank in each.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import fastcnn
from benchmarks.nodes import scaling
from fastcnn.benchmark import ranks
from fastcnn.distributed import launcher

NET, BRIDGE, NAME = "10.219.0", "fcnn0", "fcnn"
BURST = 64 << 10, 4e-3  # what may leave at once: bytes of one packet of the largest size, or seconds of the link
# Network, batch, hosts, whether they sleep, links. Two cores carry what eight hosts send at 100 Mb/s, and little more.
CASES = (
    ("vgg_small", 64, 2, False, (25e6, 100e6, 200e6, 500e6)),
    ("vgg_small", 16, 2, False, (25e6, 100e6, 200e6, 500e6)),
    ("vgg_small", 64, 2, True, (25e6, 100e6, 200e6)),
    ("vgg_small", 64, 4, True, (25e6, 50e6, 100e6)),
    ("vgg_small", 64, 8, True, (25e6, 50e6, 100e6)),
)
AGENT = """#!/bin/sh
# What mpiexec calls in place of ssh: AGENT [OPTIONS] HOST COMMAND
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec %s${host##*.} sh -c "$*"
"""


def ip(*words: object) -> None:
    """Run a command of iproute2; OSError with what it printed where it fails."""
    done = subprocess.run([*map(str, words)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"`{' '.join(map(str, words))}` failed: {' '.join(done.stderr.split()) or done.returncode}")


class Hosts:
    """`count` hosts that each send `rate` bits/s (None: as fast as the machine can); a context manager."""

    def __init__(self, count: int, rate: float | None = None):
        self.count, self.rate = count, rate

    def __enter__(self) -> Hosts:
        self.folder, self.made = tempfile.TemporaryDirectory(), []
        self.agent = Path(self.folder.name) / "agent"
        self.agent.write_text(AGENT % NAME)
        self.agent.chmod(0o755)
        try:
            ip("ip", "link", "add", BRIDGE, "type", "bridge")  # fails where another check goes on, or was killed
            self.made.append(("link", "del", BRIDGE))
            ip("ip", "addr", "add", f"{NET}.254/24", "dev", BRIDGE)
            ip("ip", "link", "set", BRIDGE, "up")
            for host in range(1, self.count + 1):
                self.add(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def add(self, host: int) -> None:
        space, outer = f"{NAME}{host}", f"{NAME}v{host}"
        ip("ip", "netns", "add", space)
        self.made.append(("netns", "del", space))
        ip("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
        ip("ip", "link", "set", outer, "master", BRIDGE, "up")
        ip("ip", "-n", space, "addr", "add", f"{NET}.{host}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("ip", "-n", space, "link", "set", device, "up")
        if self.rate:
            burst = max(BURST[0], round(self.rate / 8 * BURST[1]))
            shape = ("rate", f"{self.rate:.0f}bit", "burst", burst, "limit", 8 << 20)
            ip("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *shape)

    def __exit__(self, *exception: object) -> None:
        for words in reversed(self.made):
            subprocess.run(["ip", *words], check=False, capture_output=True)
        self.folder.cleanup()

    def command(self) -> list[str]:
        """The words that start a rank on each host."""
        names = ",".join(f"{NET}.{host}" for host in range(1, self.count + 1))
        remote = ["-launcher", "ssh", "-launcher-exec", str(self.agent)]
        return [launcher(), "-localhost", f"{NET}.254", "-hosts", names, *remote, "-n", str(self.count)]


def check(
    name: str, batch: int, hosts: int, rate: float | None, asleep: bool, network: scaling.Interconnect
) -> list[float]:
    """Milliseconds of a step, of the waiting in it and of a sum alone; the last two by the model too.

    `asleep`: the hosts sleep through what one of them would compute; otherwise each computes its part of the batch on
    one thread. The model is told how long that took, so that what it says is about the network.
    """
    each = batch // hosts
    times = ranks.backward_times(name, each)
    with Hosts(hosts, rate) as made, ranks.Job(hosts, 1, made.command(), **scaling.TCP) as job:
        found = [job.measure(name, batch, 10, times if asleep else None) for _ in range(2)]
    step, waited = ranks.middle(timing.steps for timing in found), ranks.middle(timing.waits for timing in found)
    backward, sums = sum(times[1:]) / sum(times), scaling.buckets(name, each, times)
    model = scaling.Training((step - waited) / 1e3, 0, backward, sums, 0)
    shaped = scaling.Interconnect(network.latency, min(network.bandwidth, scaling.HEADERS * (rate or math.inf) / 8))
    exposed = model.exposed(each, hosts, shaped) * 1e3
    alone = shaped.sum_time(sum(size for size, _ in sums), hosts) * 1e3
    return [step, waited, exposed, ranks.middle(timing.sums for timing in found), alone]


def compare_buckets() -> None:
    """Print what two hosts wait for at 1 Gb/s, with buckets of several sizes, the last of them one for all."""
    with Hosts(2, 1e9) as made, ranks.Job(2, 1, made.command(), **scaling.TCP) as job:
        for size in (1 << 10, 64 << 10, 256 << 10, 512 << 10, 1 << 30):
            found = [job.measure("vgg_small", 64, 10, bucket=size) for _ in range(3)]
            waited, alone = (
                ranks.middle(timing.waits for timing in found),
                ranks.middle(timing.sums for timing in found),
            )
            print(f"buckets of {size >> 10:>7} KiB: waited {waited:5.1f} ms of a sum of {alone:.1f} ms", flush=True)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks shaped") -> int:
    parser = argparse.ArgumentParser(prog, description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--buckets", action="store_true", help="instead: the waiting with buckets of other sizes")
    fastcnn.set_num_threads(1)
    if parser.parse_args(arguments).buckets:
        compare_buckets()
        return 0
    with Hosts(2) as made:
        network = scaling.measure_network(made.command(), **scaling.TCP)
    print(f"between two hosts: {network.latency * 1e6:.1f} us a message, {network.bandwidth / 1e9:.2f} GB/s")
    print("network    batch hosts            link  step ms  waited  model  sum alone  model")
    for name, batch, hosts, asleep, rates in CASES:
        for rate in rates:
            numbers = check(name, batch, hosts, rate, asleep, network)
            kind = "asleep" if asleep else "working"
            text = "{:>8.1f} {:>7.1f} {:>6.1f} {:>10.1f} {:>6.1f}".format(*numbers)
            print(f"{name} {batch:>6} {hosts:>2} {kind:>7} {rate / 1e6:>6.0f} Mb/s {text}", flush=True)
    return 0
