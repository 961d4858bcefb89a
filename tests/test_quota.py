"""The CPU quota of a container, in trees of files as Linux shows them."""

import pytest

from fastcnn.quota import cpu_quota


@pytest.fixture
def tree(tmp_path):
    """``tree(cgroup, files)``: a root with `/proc/self/cgroup` and files below `/sys/fs/cgroup`."""

    def make(cgroup, **files):
        for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


TWO = "0::/kube/pod/box\n"
ONE = "12:cpuset:/\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "cores", "where"),
    [
        (TWO, {"kube/pod/box/cpu.max": "150000 100000\n"}, 1.5, "kube/pod/box/cpu.max"),
        (TWO, {"kube/pod/box/cpu.max": "max 100000\n", "kube/cpu.max": "50000 25000\n"}, 2, "kube/cpu.max"),
        (TWO, {"kube/pod/box/cpu.max": "400000 100000\n", "kube/pod/cpu.max": "300000 100000"}, 3, "kube/pod/cpu.max"),
        (TWO, {"cpu.max": "100000 100000\n"}, 1, "cpu.max"),  # the path is the host's, the mount the container's
        ("0::/\n", {"cpu.max": "25000 100000\n"}, 0.25, "cpu.max"),  # a namespace of its own
        ("0::/../other\n", {"cpu.max": "200000 100000\n", "other/cpu.max": "100000 100000\n"}, 2, "cpu.max"),
        (
            ONE,
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            2.5,
            "cpu,cpuacct/docker/abc/cpu.cfs_quota_us",
        ),
        (
            ONE,
            {
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "cpu/docker/cpu.cfs_quota_us": "-1",
            },
            0.5,
            "cpu/cpu.cfs_quota_us",
        ),
    ],
)
def test_the_least_quota_of_all_groups(tree, cgroup, files, cores, where):
    root = tree(cgroup, **files)
    assert cpu_quota(root) == (cores, root / "sys/fs/cgroup" / where)


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        (TWO, {"kube/pod/box/cpu.max": "max 100000\n"}),
        (TWO, {"cpu.max": "max\n"}),
        (TWO, {}),
        (ONE, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        (ONE, {"cpu/cpu.cfs_quota_us": "100000\n"}),  # no period
        ("3:cpuset,cpuacct:/\n", {"cpuset,cpuacct/cpu.cfs_quota_us": "1", "cpuset,cpuacct/cpu.cfs_period_us": "1"}),
        *((TWO, {"cpu.max": text}) for text in ("", "many 100000", "100000 0", "1 2 3", "-5 100000", "0 100000")),
        *((text, {"other/cpu.max": "100000 100000"}) for text in ("", "nonsense", "0:", "::", ":::\n\n")),
    ],
)
def test_no_quota(tree, cgroup, files):
    assert cpu_quota(tree(cgroup, **files)) is None


def test_no_linux(tmp_path):
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("text", "threads"), [("1 100000", 1), ("100000 100000", 1), ("150000 100000", 2)])
def test_a_part_of_a_core_is_a_thread(tree, text, threads):
    assert cpu_quota(tree(TWO, **{"cpu.max": text})).threads == threads
