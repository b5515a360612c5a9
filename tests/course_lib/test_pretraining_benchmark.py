"""The benchmark runs, its candidates agree, and it prints one table and one line of JSON. No time is asserted."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "pretraining.py"
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark_pretraining", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        spec.loader.exec_module(module)
    return module


def test_a_small_run(tmp_path):
    table = tmp_path / "table.md"
    command = [sys.executable, str(SCRIPT), "--rounds", "1", "--threads", "1", "--no-compile", "--table", str(table)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()
    rows = [row for row in json.loads(lines[-1])["results"] if "GPU" not in row["task"]]
    assert [(row["task"].split()[0], row["candidate"].split()[0]) for row in rows] == [
        ("GPT-2", "transformers"),
        ("GPT-2", "plain"),
        ("GPT-2", "course_lib"),
        ("Llama", "transformers"),
        ("Llama", "course_lib"),
    ]
    assert all(row["seconds"] > 0 and row["tokens_per_s"] > 0 for row in rows)
    written = table.read_text(encoding="utf-8").splitlines()
    assert written == lines[: len(written)]


def test_candidates_that_disagree_are_not_timed(benchmark):
    cfg = benchmark.GPT2
    right = {"a": lambda ids, targets: ids.sum() * 0.0, "b": lambda ids, targets: targets.sum() * 0.0 + 1e-6}
    benchmark.require_agreement(right, cfg)
    for off in (1e-3, torch.nan):
        with pytest.raises(AssertionError, match="c disagrees"):
            benchmark.require_agreement(right | {"c": lambda ids, targets, off=off: torch.tensor(off)}, cfg)


def test_the_plain_model_is_the_same_model(benchmark):
    torch.manual_seed(0)
    ours = benchmark.GPT(benchmark.GPT2)
    for p in ours.parameters():  # norms and biases too, or a forgotten one would not show
        p.data.add_(0.1 * torch.randn_like(p))
    plain = benchmark.PlainGPT2(benchmark.GPT2)
    plain.take_weights(ours.state_dict())
    ids = torch.randint(65, (2, 65))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    torch.testing.assert_close(plain(inputs, targets), ours(inputs, targets), rtol=1e-4, atol=1e-4)


def test_operations_per_token_by_hand(benchmark):
    # Per layer 12 C^2 weights and 13 C of biases and norms; the head 65 C; the last norm 2 C; attention 12 L C T.
    C, L, T = 128, 4, 64
    weights = L * (12 * C * C + 13 * C) + 65 * C + 2 * C
    assert benchmark.flops_per_token(benchmark.GPT2) == 6 * weights + 12 * L * C * T


def test_gpu_rows_are_made_as_they_would_be_on_a_gpu(benchmark, monkeypatch):
    """The same code on a CPU, with a small model and other clocks."""
    monkeypatch.setattr(benchmark, "DEVICE", "cpu")
    monkeypatch.setattr(benchmark, "GPU", benchmark.GPTConfig.llama(
        vocab_size=64, context_length=16, n_layers=1, n_heads=2, d_model=16, d_ff=None, tied=True
    ))  # fmt: skip
    monkeypatch.setattr(benchmark, "GPU_BATCH", 2)
    real = benchmark.our_run
    monkeypatch.setattr(benchmark, "our_run", lambda *args, compile, **kwargs: real(*args, **kwargs))
    monkeypatch.setattr(benchmark, "device_seconds", lambda run: (run(), 2.0)[1])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100-SXM4-80GB")
    rows = benchmark.measure_gpu(rounds=1)
    flops = benchmark.flops_per_token(benchmark.GPU) * 2 * 16 / 2.0
    assert [row["mfu"] for row in rows] == pytest.approx([flops / 312e12] * 2)
    assert benchmark.markdown(rows, {"gpu": "a test"}, 1).count("| GPU,") == 2
