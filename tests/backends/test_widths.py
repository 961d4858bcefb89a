"""Kernels at every width of vectors, on arrays that lie against closed pages: see tests/helpers/fenced.py."""

import signal
import sys

import pytest

from fastcnn.backends.numba.core import cache
from fastcnn.backends.numba.core.width import VECTOR_BYTES
from fastcnn.backends.numba.product import gemm
from tests.helpers.processes import ROOT, run_python

FENCED = ROOT / "tests/helpers/fenced.py"
needs_mprotect = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")


@needs_mprotect
@pytest.mark.slow
@pytest.mark.parametrize(("bits", "dtype"), [(32, "float32"), (128, "float64"), (256, "float32"), (512, "float64")])
def test_kernels_at_other_vector_widths(bits, dtype):
    """32 bits are one lane: scalar code. The widest is what the processor has, or what LLVM makes of it."""
    if bits == 8 * VECTOR_BYTES:
        pytest.skip("the processor's own width: the next test")
    done = run_python(FENCED, dtype, FASTCNN_VECTOR_BITS=str(bits), timeout=900)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr
    assert done.stdout.startswith(f"vectors of {bits} bits\n")


@needs_mprotect
@pytest.mark.slow
def test_kernels_stay_inside_their_arrays():
    done = run_python(FENCED, "float32", "float64", timeout=900)
    assert done.returncode == 0 and done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr


@needs_mprotect
def test_the_fence_holds():
    done = run_python(FENCED, "--cross")
    assert done.returncode in (-signal.SIGSEGV, -signal.SIGBUS)
    assert done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr


def test_an_unknown_vector_width_is_refused():
    done = run_python("-c", "import fastcnn.backends.numba", FASTCNN_VECTOR_BITS="100")
    assert "FASTCNN_VECTOR_BITS must be one of 32, 128, 256, 512. Received FASTCNN_VECTOR_BITS='100'" in done.stderr


def test_a_cache_for_each_vector_width(monkeypatch, tmp_path):
    """Whatever numba takes two processors for: kernels use memory that is allocated by this width."""
    monkeypatch.setattr(cache, "CACHE_FOLDER", tmp_path)
    find = cache.folder_of.__wrapped__
    own = find(gemm.__name__)
    assert own == find(gemm.__name__) and own.startswith(str(tmp_path))
    monkeypatch.setattr(cache, "VECTOR_BYTES", 8)
    assert own != find(gemm.__name__)
