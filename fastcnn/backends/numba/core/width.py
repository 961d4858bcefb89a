"""How wide vectors are. Apart from :mod:`fastcnn.backends.numba.core.vectors`, as the kernels' cache is kept by it."""

import os

import llvmlite.binding as llvm

VECTOR_BITS = ("32", "128", "256", "512")
PROBE = """
target triple = "{triple}"
define <16 x float> @f(<16 x float> %a, <16 x float> %b) {{
    %c = fadd <16 x float> %a, %b
    ret <16 x float> %c
}}
"""


def vector_bytes() -> int:
    """Bytes in a vector: 64 with AVX-512, 32 with AVX, 16 otherwise (SSE, NEON), of the processor that numba compiles
    for; or what `FASTCNN_VECTOR_BITS` says.

    Any width is correct on any processor, as LLVM splits what is too wide. `FASTCNN_VECTOR_BITS=32` makes vectors of
    one lane, of float64 too: scalar code, which the tests force.
    """
    text = os.environ.get("FASTCNN_VECTOR_BITS", "").strip()
    if text and text not in VECTOR_BITS:
        raise ValueError(
            f"the environment variable FASTCNN_VECTOR_BITS must be one of {', '.join(VECTOR_BITS)}. "
            f"Received FASTCNN_VECTOR_BITS={text[:80]!r}"
        )
    return int(text or widest(os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES"))) // 8


def widest(name: str | None, features: str | None) -> int:
    """Bits of the widest vectors of a processor: this one, or as numba's variables of these names say. With a name
    alone numba adds this processor's features to it."""
    if name is None and features is None:
        has = llvm.get_host_cpu_features()
        return 512 if has.get("avx512f") else 256 if has.get("avx") else 128
    if features is None:
        features = "" if str(name).lower() == "generic" else llvm.get_host_cpu_features().flatten()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=name or llvm.get_host_cpu_name(), features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(PROBE.format(triple=target.triple)))
    return 512 if "zmm" in assembly else 256 if "ymm" in assembly else 128


VECTOR_BYTES = vector_bytes()
