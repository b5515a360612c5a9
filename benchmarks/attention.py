"""Measure attention in its tiers beside torch's, and a training step of a small GPT beside transformers' GPT-2.

    python benchmarks/attention.py                     # prints a Markdown table and one line of JSON
    python benchmarks/attention.py --table benchmarks/attention.md

All candidates run in one process on one thread and take turns, so that a busy machine slows all of them; each time is
the best of several rounds, in processor time on a CPU and by the device's clock on a GPU. Before anything is timed,
the candidates' answers are compared: outputs, and for the training step loss and gradients.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.shared.timing import device_seconds, machine, processor_seconds, take_turns
from course_lib.attention import (
    GPT,
    GPTConfig,
    attention,
    attention_naive,
    causal_mask,
    flash_attention,
    gpt2_settings,
    gpt2_state_to_hf,
    make_optimizer,
    scaled_dot_product_attention,
)

Row = dict[str, object]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
HEADS, HEAD_DIM = 4, 64
SMALL = GPTConfig(vocab_size=65, context_length=64, n_layers=4, n_heads=4, d_model=128)
BATCH = 12
GPU_LENGTH, GPU_HEADS, GPU_HEAD_DIM = 16384, 16, 128


def peak_bytes(run: Callable[[], object]) -> int:
    """Return how many bytes torch held at most for what one run made, inside kernels too; inputs do not count."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def backward_through(attend: Attend, inputs: list[Tensor]) -> Callable[[], object]:
    """Return a run of the forward and the backward pass, with the sum of the outputs as the loss."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    return lambda: torch.autograd.grad(attend(*leaves).sum(), leaves)


def require_agreement(candidates: dict[str, Attend], inputs: list[Tensor], tolerance: float) -> None:
    """AssertionError if two candidates disagree about these inputs."""
    outputs = {name: attend(*inputs).float() for name, attend in candidates.items()}
    first = next(iter(outputs.values()))
    for name, out in outputs.items():
        if not (out - first).abs().max() < tolerance:
            raise AssertionError(f"{name} disagrees")


def measure_attention(T: int, rounds: int, with_loops: bool) -> list[Row]:
    """Time all tiers of causal attention for one text of T tokens, forward, and forward with backward."""
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, HEADS, T, HEAD_DIM, generator=draw) for _ in range(3)]
    candidates: dict[str, Attend] = {
        "torch SDPA": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        "course_lib, fused (attention)": lambda q, k, v: attention(q, k, v, is_causal=True),
        "course_lib, tiled (flash_attention)": lambda q, k, v: flash_attention(q, k, v, causal=True, tier="torch"),
        "course_lib, with weights (scaled_dot_product_attention)": lambda q, k, v: scaled_dot_product_attention(
            q, k, v, causal_mask(T)
        )[0],
    }
    loops: dict[str, Attend] = {}
    if with_loops:
        loops["course_lib, loops (attention_naive)"] = lambda q, k, v: attention_naive(q, k, v, causal_mask(T))
    require_agreement(candidates | loops, inputs, 1e-4)
    rows = []
    for passes in ("forward", "forward + backward"):
        runs: dict[str, Callable[[], object]] = {}
        for name, attend in (candidates | (loops if passes == "forward" else {})).items():
            runs[name] = (
                (lambda attend=attend: attend(*inputs)) if passes == "forward" else backward_through(attend, inputs)
            )
        times = take_turns(runs, rounds, processor_seconds)
        for name, seconds in times.items():
            row = {"task": f"attention, T = {T}, {passes}", "candidate": name, "seconds": seconds}
            rows.append(row | {"over_peer": seconds / times["torch SDPA"], "peak_bytes": peak_bytes(runs[name])})
    return rows


def measure_training(rounds: int) -> list[Row]:
    """Time a training step of the small GPT and of transformers' GPT-2 with the same weights and ids."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    ours = GPT(SMALL)
    settings = {k: v for k, v in gpt2_settings(SMALL).items() if k not in ("architectures", "model_type")}
    config = GPT2Config(**settings, use_cache=False, attn_implementation="sdpa")
    theirs = GPT2LMHeadModel(config)
    theirs.load_state_dict(gpt2_state_to_hf(ours.state_dict(), SMALL), strict=False)
    ids = torch.randint(SMALL.vocab_size, (BATCH, SMALL.context_length + 1))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def our_loss() -> Tensor:
        return ours(inputs, targets)

    def their_loss() -> Tensor:
        return theirs(inputs, labels=targets, shift_labels=targets).loss  # shifted already, as ours are

    for loss in (our_loss, their_loss):
        loss().backward()
    # The table's gradient has come through everything.
    gap = ours.token_embedding.weight.grad - theirs.transformer.wte.weight.grad
    if not (abs(our_loss() - their_loss()) < 1e-4 and gap.abs().max() < 1e-4):
        raise AssertionError("the two models disagree")

    def step(model: torch.nn.Module, loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    our_optimizer = make_optimizer(ours, lr=1e-3)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    runs: dict[str, Callable[[], object]] = {
        "transformers GPT2LMHeadModel": lambda: step(theirs, their_loss, their_optimizer),
        "course_lib GPT": lambda: step(ours, our_loss, our_optimizer),
    }
    for run in runs.values():
        run()  # the optimizer's state is made in the first step
    times = take_turns(runs, rounds, processor_seconds)
    peer = times["transformers GPT2LMHeadModel"]
    row = {"task": "training step, small GPT"}
    return [
        row | {"candidate": name, "seconds": seconds, "over_peer": seconds / peer, "peak_bytes": peak_bytes(runs[name])}
        for name, seconds in times.items()
    ]


def measure_gpu(rounds: int) -> list[Row]:
    """Time the Triton kernels beside SDPA on a GPU: bfloat16, causal, one long text."""
    shape = (1, GPU_HEADS, GPU_LENGTH, GPU_HEAD_DIM)
    inputs = [torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
    candidates: dict[str, Attend] = {
        "torch SDPA": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        "course_lib, Triton (flash_attention)": lambda q, k, v: flash_attention(q, k, v, causal=True, tier="triton"),
    }
    require_agreement(candidates, inputs, 0.05)
    rows = []
    forward = 4 * GPU_HEADS * GPU_LENGTH**2 * GPU_HEAD_DIM / 2  # two products; half of them is masked
    for passes, operations in (("forward", forward), ("forward + backward", 3.5 * forward)):
        runs = {
            name: (lambda attend=attend: attend(*inputs)) if passes == "forward" else backward_through(attend, inputs)
            for name, attend in candidates.items()
        }
        for run in runs.values():
            run()  # compiled, and the best block sizes chosen
        times = take_turns(runs, rounds, device_seconds)
        task = f"GPU attention, T = {GPU_LENGTH}, D = {GPU_HEAD_DIM}, bfloat16, {passes}"
        for name, seconds in times.items():
            row = {"task": task, "candidate": name, "seconds": seconds, "over_peer": seconds / times["torch SDPA"]}
            rows.append(row | {"peak_bytes": peak_bytes(runs[name]), "tflops": operations / seconds / 1e12})
    return rows


def markdown(rows: list[Row], about: dict[str, str], rounds: int, training_rounds: int) -> str:
    """Return the results as one Markdown table under a description."""
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    has_gpu = any("tflops" in row for row in rows)
    lines = [
        "# Attention and a training step, side by side",
        "",
        "Made by `python benchmarks/attention.py --table benchmarks/attention.md`.",
        "",
        f"- Machine: {described}.",
        f"- CPU rows: float32, one thread, processor time, candidates take turns in one process; best of {rounds}",
        f"  rounds, {training_rounds} for the training step. Load is the machine's load average before the run.",
        "- Peak MiB is what torch held at most for what the run made, inside its kernels too, without the inputs. What",
        "  Python's lists hold is not in it: nearly everything that the loops do.",
        f"- Attention: one text, {HEADS} heads of {HEAD_DIM}, causal. The fused tier *is* torch's kernel behind a few",
        "  questions about its arguments; the tiled one is plain torch, written to be read: on a CPU it saves memory,",
        "  not time.",
        f"- Training step: {SMALL.n_layers} layers, width {SMALL.d_model}, {SMALL.n_heads} heads,",
        f"  {SMALL.context_length} tokens, batch {BATCH}, {SMALL.vocab_size} characters, no dropout: the sizes of",
        "  nanoGPT's configuration for CPUs. Forward, backward and a fused AdamW on both sides; same weights, loss and",
        "  gradients found equal before. Both spend most of the time in the same matrix products. The difference is",
        "  mainly the GELU: transformers writes it out in tensor operations, here it is one node of the graph.",
        "",
        f"| task | candidate | ms | its time / the peer's | peak MiB |{' TFLOP/s |' if has_gpu else ''}",
        f"| --- | --- | ---: | ---: | ---: |{' ---: |' if has_gpu else ''}",
    ]
    for row in rows:
        cells = [row["task"], row["candidate"], f"{1000 * row['seconds']:.2f}", f"{row['over_peer']:.2f}"]
        cells.append(f"{row['peak_bytes'] / 2**20:.1f}")
        if has_gpu:
            cells.append(f"{row['tflops']:.0f}" if "tflops" in row else "")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the measurements that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="*", default=[128, 512, 2048], help="(default: %(default)s)")
    parser.add_argument("--loops-up-to", type=int, default=128, help="longest T for the loops (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="the best of this many (default: %(default)s)")
    parser.add_argument("--training-rounds", type=int, default=150, help="steps of training (default: %(default)s)")
    parser.add_argument("--table", type=Path, help="also write the Markdown table to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = machine("transformers")  # before the measurements: their own load is not the machine's
    rows = measure_gpu(options.rounds) if torch.cuda.is_available() else []
    for T in options.lengths:
        rows += measure_attention(T, options.rounds, with_loops=options.loops_up_to >= T)
    if options.training_rounds:
        rows += measure_training(options.training_rounds)
    table = markdown(rows, about, options.rounds, options.training_rounds)
    print(table)
    print(json.dumps({"machine": about, "results": rows}))
    if options.table:
        options.table.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
