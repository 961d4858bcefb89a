"""How wide vectors are. Apart from :mod:`fastcnn.backends.numba.core.vectors`, as the kernels' cache is kept by it."""

import os

import llvmlite.binding as llvm

VECTOR_BITS = ("32", "128", "256", "512")


def vector_bytes() -> int:
    """Bytes in a vector: 64 with AVX-512, 32 with AVX, 16 otherwise (SSE, NEON); or what `FASTCNN_VECTOR_BITS` says.

    Any width is correct on any processor, as LLVM splits what is too wide. `FASTCNN_VECTOR_BITS=32` makes vectors of
    one lane, of float64 too: scalar code, which the tests force.
    """
    text = os.environ.get("FASTCNN_VECTOR_BITS", "").strip()
    if text and text not in VECTOR_BITS:
        raise ValueError(
            f"the environment variable FASTCNN_VECTOR_BITS must be one of {', '.join(VECTOR_BITS)}. "
            f"Received FASTCNN_VECTOR_BITS={text[:80]!r}"
        )
    features = llvm.get_host_cpu_features()
    widest = 512 if features.get("avx512f") else 256 if features.get("avx") else 128
    return int(text or widest) // 8


VECTOR_BYTES = vector_bytes()
