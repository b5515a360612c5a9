"""The benchmark runs, its candidates agree, and it prints one table and one line of JSON. No time is asserted."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "attention.py"
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_attention", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("OMP_NUM_THREADS", "1")  # it sets this one for itself
        spec.loader.exec_module(module)
    return module


def test_a_small_run(tmp_path):
    table = tmp_path / "table.md"
    options = ["--lengths", "16", "40", "--loops-up-to", "16", "--rounds", "1", "--training-rounds", "1"]
    command = [sys.executable, str(SCRIPT), *options, "--table", str(table)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = result.stdout.strip().splitlines()
    rows = json.loads(lines[-1])["results"]
    on_cpu = [row for row in rows if "GPU" not in row["task"]]
    assert {row["task"].split(",")[0] for row in on_cpu} == {"attention", "training step"}
    assert len(on_cpu) == 4 + 1 + 4 + 4 + 4 + 2
    assert sum("loops" in row["candidate"] for row in on_cpu) == 1
    assert all(row["seconds"] > 0 and row["over_peer"] > 0 and row["peak_bytes"] > 0 for row in rows)
    written = table.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith(("| attention", "| training", "| GPU")) for line in written) == len(rows)
    assert written == lines[: len(written)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the allocator keeps the count")
def test_the_peak_is_what_was_held_at_once(benchmark):
    def run():
        a = torch.zeros(1000, dtype=torch.float64)  # 8,000 bytes
        b = a + 1
        del a
        return b + b  # 16,000 again

    assert 16_000 <= benchmark.peak_bytes(run) < 16_100  # the number 1 is a tensor for a moment
    x = torch.zeros(10_000)
    assert 400 <= benchmark.peak_bytes(lambda: x[:100] + 1) < 500


def test_candidates_that_disagree_are_not_timed(benchmark):
    right = {"a": lambda q, k, v: q, "b": lambda q, k, v: q + 1e-6}
    inputs = [torch.ones(2)] * 3
    benchmark.require_agreement(right, inputs, 1e-4)
    for wrong in (lambda q, k, v: q + 1e-3, lambda q, k, v: q * torch.nan):
        with pytest.raises(AssertionError, match="c disagrees"):
            benchmark.require_agreement(right | {"c": wrong}, inputs, 1e-4)


def test_turns_are_taken_and_the_best_counts(benchmark):
    order = []
    ticks = iter([5.0, 9.0, 3.0, 8.0, 4.0, 7.0])

    def clock(run):
        run()
        return next(ticks)

    times = benchmark.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, clock)
    assert order == ["a", "a", "b", "b"] * 3 and times == {"a": 3.0, "b": 7.0}


def test_gpu_rows_are_made_as_they_would_be_on_a_gpu(benchmark, monkeypatch):
    """The same code on a CPU, with the plain tier in place of the kernels and other clocks."""
    real = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *args, **kwargs: real(*args, **kwargs | {"device": "cpu"}))
    flash = benchmark.flash_attention
    monkeypatch.setattr(benchmark, "flash_attention", lambda q, k, v, causal, tier: flash(q, k, v, causal=causal))
    monkeypatch.setattr(benchmark, "device_seconds", lambda run: (run(), 2.0)[1])
    monkeypatch.setattr(benchmark, "GPU_LENGTH", 64)
    rows = benchmark.measure_gpu(rounds=1)
    # Two products of 64 by 64 by 128 for 16 heads, half of them masked: 16.8 million operations, in 2 seconds.
    forward = 2 * 2 * 16 * 64 * 64 * 128 / 2
    want = [forward / 2e12] * 2 + [3.5 * forward / 2e12] * 2
    assert [row["tflops"] for row in rows] == pytest.approx(want)
    table = benchmark.markdown(rows, {"gpu": "a test"}, 1, 1)
    assert table.count("| GPU attention, T = 64") == 4 and "TFLOP/s" in table
