"""Kernels at every width of vectors, on arrays that lie against closed pages: see tests/helpers/fenced.py."""

import platform
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastcnn.backends.numba.core import cache, width
from fastcnn.backends.numba.core.width import VECTOR_BYTES
from fastcnn.backends.numba.product import gemm
from tests.helpers.processes import ROOT, run_python

FENCED = ROOT / "tests/helpers/fenced.py"
needs_mprotect = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")


OWN = 8 * VECTOR_BYTES
RUNS = {OWN: ["float32", "float64"]} | {
    bits: [dtype]
    for bits, dtype in ((32, "float32"), (128, "float64"), (256, "float32"), (512, "float64"))
    if bits != OWN
}


@pytest.fixture(scope="module")
def ended(request):
    """A function that waits for the run of a width. All runs that are asked for go on at once, as each takes a core for
    more than a minute, and other tests may leave one idle."""
    using = [item for item in request.session.items if "ended" in item.fixturenames]
    asked = {item.callspec.params["bits"] for item in using if not item.get_closest_marker("skip")}
    with ThreadPoolExecutor(len(asked)) as pool:
        runs = {
            bits: pool.submit(run_python, FENCED, *RUNS[bits], FASTCNN_VECTOR_BITS=str(bits), timeout=1800)
            for bits in asked
        }
        yield lambda bits: runs[bits].result()


# A width takes a minute or two of compilation, and only sizes differ: always the processor's own and another one.
ALWAYS = OWN, 256 if OWN != 256 else 128
WIDTHS = [bits if bits in ALWAYS else pytest.param(bits, marks=pytest.mark.long) for bits in RUNS]


@needs_mprotect
@pytest.mark.slow
@pytest.mark.parametrize("bits", WIDTHS)
def test_kernels_stay_inside_their_arrays_at_every_vector_width(bits, ended):
    """32 bits are one lane: scalar code. The widest is what the processor has, or what LLVM makes of it."""
    done = ended(bits)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr
    assert done.stdout.startswith(f"vectors of {bits} bits\n")


@needs_mprotect
def test_the_fence_holds():
    done = run_python(FENCED, "--cross")
    assert done.returncode in (-signal.SIGSEGV, -signal.SIGBUS)
    assert done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr


def test_an_unknown_vector_width_is_refused():
    done = run_python("-c", "import fastcnn.backends.numba", FASTCNN_VECTOR_BITS="100")
    assert "FASTCNN_VECTOR_BITS must be one of 32, 128, 256, 512. Received FASTCNN_VECTOR_BITS='100'" in done.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 processors")
@pytest.mark.parametrize(
    ("name", "features", "bits"),
    [("znver3", "", 256), ("sapphirerapids", "", 512), ("sapphirerapids", "-avx512f", 256), ("nehalem", "", 128)],
)
def test_vectors_are_those_of_the_processor_that_numba_compiles_for(name, features, bits):
    script = "from fastcnn.backends.numba.core.width import VECTOR_BYTES; print(8 * VECTOR_BYTES)"
    settings = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    assert run_python("-c", script, FASTCNN_VECTOR_BITS="", **settings).stdout == f"{bits}\n"
    assert width.widest("generic", None) == 128


def test_a_cache_for_each_vector_width(monkeypatch, tmp_path):
    """Whatever numba takes two processors for: kernels use memory that is allocated by this width."""
    monkeypatch.setattr(cache, "CACHE_FOLDER", tmp_path)
    find = cache.folder_of.__wrapped__
    own = find(gemm.__name__)
    assert own == find(gemm.__name__) and own.startswith(str(tmp_path))
    monkeypatch.setattr(cache, "VECTOR_BYTES", 8)
    assert own != find(gemm.__name__)
