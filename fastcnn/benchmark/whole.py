"""Whole processes: how long from the import to the first finished step, and how much memory a training run takes."""

import os
import subprocess
import sys
import tempfile

OURS = "from fastcnn.benchmark.networks import training_step as make\nsteps = [make({name!r}, {batch})]"
STEP = {
    "numba": OURS,
    "numpy": OURS,
    "torch": "from fastcnn.benchmark.torch_side import training_step as make\nsteps = make({name!r}, {batch}).values()",
}
FIRST_STEP = "import time\nstart = time.perf_counter()\n{make}\nnext(iter(steps))()\nprint(time.perf_counter() - start)"
# Not ru_maxrss where the kernel tells better: it begins with the peak of the process that started this one.
PEAK = """{make}
for _ in range({steps}):
    list(steps)[{variant}]()
try:
    status = open("/proc/self/status").read()
    print(status.split("VmHWM:")[1].split()[0])
except (OSError, IndexError):
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
STEPS = 10


def run(script: str, threads: int, **environment: str) -> float:
    """The number that a script prints, run by this Python in a new process."""
    environment |= {"FASTCNN_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"a process of the benchmark failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


def first_step(contestant: str) -> str:
    """A script that prints the seconds from the import to the end of the first LeNet step."""
    return FIRST_STEP.format(make=STEP[contestant].format(name="lenet", batch=64))


def startup(contestant: str, threads: int, repeats: int = 3) -> dict[str, list[float]]:
    """Seconds from the import to the end of the first LeNet step: with an empty kernel cache, and with a full one."""
    script = first_step(contestant)
    if contestant != "numba":
        return {"": [run(script, threads, **backend_of(contestant)) for _ in range(repeats)]}
    with tempfile.TemporaryDirectory() as folder:
        cold = run(script, threads, NUMBA_CACHE_DIR=folder)
        return {"cold": [cold], "warm": [run(script, threads, NUMBA_CACHE_DIR=folder) for _ in range(repeats)]}


def backend_of(contestant: str) -> dict[str, str]:
    """The environment of a contestant's process."""
    return {} if contestant == "torch" else {"FASTCNN_BACKEND": contestant}


def peak_memory(contestant: str, threads: int) -> float:
    """Peak resident memory, in MiB, of a process that trains vgg_small for some steps of 64 images; the smaller one
    of PyTorch's two layouts. The kernels are cached: compilers need memory too, once."""
    make = STEP[contestant].format(name="vgg_small", batch=64)
    variants = (0, 1) if contestant == "torch" else (0,)
    scripts = [PEAK.format(make=make, steps=STEPS, variant=variant) for variant in variants]
    run(scripts[0], threads, **backend_of(contestant))
    return min(run(script, threads, **backend_of(contestant)) for script in scripts) / 1024
