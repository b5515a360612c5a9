"""Submissions see no GPU, also where there is one; code that asks for it loses what needs it and nothing else."""

from __future__ import annotations

import pytest
import torch
from arena import needs, told
from attack import FULL, Attack, spy

LEVELS = ["bubblewrap", "inner"]
# With the variable that hides it taken away, and below torch: the driver itself, and its devices.
SEARCH = """
os.environ.pop('CUDA_VISIBLE_DEVICES', None)
import torch
loot = [torch.cuda.device_count()] if torch.cuda.is_available() else []
for path in ['/dev/nvidiactl', '/dev/nvidia-uvm', '/dev/dxg', *(f'/dev/nvidia{n}' for n in range(8))]:
    try:
        loot.append(os.open(path, os.O_RDWR))
    except OSError:
        pass
try:
    driver = ctypes.CDLL('libcuda.so.1')
    number = ctypes.c_int(0)
    if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(number)) == 0 and number.value:
        loot.append(f'{number.value} devices')
except OSError:
    pass
"""
INSISTS = "def centre(x):\n    return (x.cuda() - x.cuda().sum() / x.numel()).cpu()\n"
ASKS_FIRST = (
    "DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')\n"
    "def centre(x):\n    there = x.to(DEVICE)\n    return (there - there.sum() / there.numel()).to(x.device)\n"
)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("level", LEVELS)
def test_a_gpu_that_is_there_is_out_of_reach(level, grade, field):
    needs(level)
    assert torch.ones(3, device="cuda").sum() == 3
    attack = Attack("", "", spy(SEARCH), earns={})
    result = grade(attack, level, field[1])
    assert result["earned"] == sum(FULL.values()), told(result)
    # The same search behind no wall finds it, or it would show nothing.
    assert "brought back" in told(grade(attack, "process", field[1]))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("source", "points"), [(INSISTS, 0), (ASKS_FIRST, 2)], ids=["insists", "asks first"])
def test_code_for_a_gpu_loses_no_more_than_what_needs_it(source, points, level, grade, field):
    needs(level)
    result = grade(Attack("", "", {"centre": source}), level, field[1])
    assert {name: entry["earned"] for name, entry in result["exercises"].items()} == FULL | {"centre": points}
    if not points:
        for item in result["exercises"]["centre"]["results"]:
            assert item["outcome"] == "error" and ("CUDA" in item["message"] or "NVIDIA" in item["message"])
