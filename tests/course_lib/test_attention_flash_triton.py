"""The Triton kernels: run on a GPU where there is one, in Triton's interpreter otherwise; and compiled for an H100."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="triton is for Linux only; the kernels are not tested here")

from triton import compile as compile_kernel
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from course_lib.attention import flash_attention, flash_kernels

CASES = Path(__file__).with_name("flash_triton_cases.py")
HOPPER = GPUTarget("cuda", 90, 32)
# What each kernel reads in blocks of COLS rows; the rest comes in blocks of ROWS.
KERNELS = {"forward_kernel": {"k", "v"}, "keys_kernel": {"k", "v", "dk", "dv"}, "queries_kernel": {"k", "v"}}


def test_the_kernels():
    # The interpreter is chosen when triton is imported: for this process it is too late.
    env = os.environ | {"TRITON_INTERPRET": "0" if torch.cuda.is_available() else "1", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", str(CASES)]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed|\[100%\]", done.stdout)


def test_without_interpreter_and_gpu_the_reason_is_given():
    q = torch.zeros(4, 16)
    with pytest.raises(ValueError, match=r"tensors on cpu .*TRITON_INTERPRET=1"):
        flash_attention(q, q, q, tier="triton")


@pytest.mark.parametrize("name", KERNELS)
def test_a_real_compiler_makes_what_a_hopper_gpu_is_built_for(name, tmp_path, monkeypatch):
    """bfloat16, D = 128, causal: blocks fetched by the copy engine, products by whole warp groups, nothing spilled."""
    monkeypatch.setattr(knobs.cache, "dir", str(tmp_path))
    config = getattr(flash_kernels, name).configs[0]
    function = getattr(flash_kernels, name).fn
    fixed = {"D": 128, "WIDTH": 128, "GROUP": 2, "CAUSAL": True, "PRECISION": "tf32", **config.kwargs}

    def kind(argument: str) -> str:
        if argument in fixed:
            return "constexpr"
        if argument in ("lse", "along"):
            return "*fp32"
        if argument in ("q", "k", "v", "out", "grad_out", "dq", "dk", "dv"):
            rows = fixed["COLS" if argument in KERNELS[name] else "ROWS"]
            return f"tensordesc<bf16[1, 1, {rows}, 128]>"
        return "fp32" if argument == "scale" else "i32"

    places = {argument: (place,) for place, argument in enumerate(function.arg_names)}
    source = ASTSource(
        function,
        {argument: kind(argument) for argument in function.arg_names},
        {places[argument]: value for argument, value in fixed.items()},
        {
            places[argument]: [["tt.divisibility", 16]]
            for argument in ("lse", "along", "padded_rows")
            if argument in places
        },
    )
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages}
    made = compile_kernel(source, target=HOPPER, options=options)
    assert "async_tma_copy_global_to_local" in made.asm["ttgir"]
    assert "wgmma.mma_async" in made.asm["ptx"] and "mma.sync" not in made.asm["ptx"]
    assert made.metadata.shared <= 227 * 1024
    (tmp_path / "kernel.ptx").write_text(made.asm["ptx"])
    assembler = [knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90a", str(tmp_path / "kernel.ptx"), "-o", os.devnull]
    said = subprocess.run(assembler, capture_output=True, text=True, check=True).stderr
    spilled = re.findall(r"(\d+) bytes spill", said)
    assert spilled and max(map(int, spilled)) <= 64  # a few bytes outside the loops do no harm
    assert "serialized" not in said
