"""The CPU quota of a container: how much time of its cores a control group of Linux may take.

Docker's ``--cpus 1.5`` and Kubernetes' limits leave all cores visible and stop the processes for the rest of each tenth
of a second; more threads than the quota are all stopped at once, in the midst of a kernel. Documented in the kernel's
``admin-guide/cgroup-v2`` (``cpu.max``) and ``scheduler/sched-bwc`` (version 1).
"""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Quota(NamedTuple):
    """Cores' worth of time, such as 1.5, and the file that says so."""

    cores: float
    file: Path

    @property
    def threads(self) -> int:
        return max(1, math.ceil(self.cores))


def cpu_quota(root: Path = Path("/")) -> Quota | None:
    """The least quota of this process's control group and of those around it; None where there is none.

    Parameters
    ----------
    root : Path
        Where `proc` and `sys` lie.
    """
    found = [quota for folder in groups(root) if (quota := quota_of(folder))]
    return min(found, default=None)


def groups(root: Path) -> Iterator[Path]:
    """The folders of this process's control groups that limit the CPU, of both versions, from the inside out."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):  # not Linux
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from upwards(mount, path)
        elif "cpu" in controllers.split(","):
            for name in dict.fromkeys((controllers, "cpu")):  # mounted as `cpu,cpuacct` or as `cpu`
                yield from upwards(mount / name, path)


def upwards(mount: Path, path: str) -> Iterator[Path]:
    """The folder of a group and those around it, up to the mount.

    Inside a container the path may be that of the host, where nothing lies; the mount is then the container's group.
    """
    group = PurePosixPath(path.lstrip("/"))
    if ".." not in group.parts:  # of a namespace around this one, whose groups cannot be seen
        for part in (group, *group.parents):
            if part != PurePosixPath():
                yield mount / part
    yield mount


def quota_of(folder: Path) -> Quota | None:
    """What the files of a control group say, of either version; None for no limit, or where they say nothing."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            cores = int(quota) / int(period)
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or `max`: no limit
            continue
        if cores > 0:  # -1: no limit
            return Quota(cores, folder / names[0])
    return None
