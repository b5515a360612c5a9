"""Measure a training step of `course_lib.pretraining` beside a plain loop and beside transformers' models.

    python benchmarks/pretraining.py                     # prints a Markdown table and one line of JSON
    python benchmarks/pretraining.py --table benchmarks/pretraining.md

All candidates run in one process and take turns, with the same weights, data and fused AdamW; before anything is timed,
their losses are compared. Ours is the whole step of `Trainer`: reading the batch, counting its targets, accumulating,
clipping, the schedule and the log. Time is processor time on one thread, and the clock on two. On a GPU a larger model
is trained in bfloat16, and the share of the device's peak is shown.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from benchmarks.shared.plain_gpt2 import PlainGPT2
from benchmarks.shared.timing import Run, device_seconds, machine, processor_seconds, take_turns, wall_seconds
from course_lib.attention import (
    GPT,
    GPTConfig,
    count_params,
    gpt2_settings,
    gpt2_state_to_hf,
    llama_settings,
    llama_state_to_hf,
)
from course_lib.pretraining import TokenBatches, TrainConfig, Trainer, mfu, peak_flops, train_flops_per_token

Row = dict[str, object]
BATCH = 12
GPT2 = GPTConfig(vocab_size=65, context_length=64, n_layers=4, n_heads=4, d_model=128)
LLAMA = GPTConfig.llama(
    vocab_size=4096, context_length=128, n_layers=6, n_heads=6, n_kv_heads=3, d_model=192, d_ff=None, tied=True
)
GPU = GPTConfig.llama(vocab_size=32768, context_length=1024, n_layers=12, n_heads=12, d_model=768, d_ff=None, tied=True)
GPU_BATCH = 32
DEVICE = "cuda"
OURS, COMPILED = "course_lib Trainer", "course_lib Trainer, compiled"


def flops_per_token(cfg: GPTConfig) -> float:
    """Return the operations of training per token, with those of attention: what MFU counts."""
    products = count_params(cfg)["total"] - (count_params(cfg)["position_embedding"])
    return train_flops_per_token(products, cfg.n_layers, cfg.n_heads, cfg.head_dim, cfg.context_length)


def our_run(model: GPT, cfg: GPTConfig, batch: int, tokens: Tensor, **settings: object) -> Run:
    """Return a run of one step of the trainer; data, schedule, clipping and log are in it."""
    device = next(model.parameters()).device
    batches = TokenBatches(tokens, batch, cfg.context_length, device=device)
    trainer = Trainer(model, batches, TrainConfig(10**6, warmup=100, schedule="constant", progress=False, **settings))
    return lambda: trainer.run(until=trainer.step + 1)


def loop_run(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], cfg: GPTConfig, tokens: Tensor) -> Run:
    """Return a run of one step of a plain loop around any model: draw, forward, backward, clip, step, read the loss."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), fused=True)
    generator = torch.Generator().manual_seed(0)

    def step() -> float:
        starts = torch.randint(len(tokens) - cfg.context_length - 1, (BATCH,), generator=generator).tolist()
        rows = torch.stack([tokens[start : start + cfg.context_length + 1] for start in starts])
        value = loss(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return value.item()

    return step


def transformers_model(ours: GPT, cfg: GPTConfig) -> tuple[nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """Return transformers' model with our weights, and its loss for ids and targets that are shifted already."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    is_llama = cfg.norm == "rms"
    settings = (llama_settings if is_llama else gpt2_settings)(cfg)
    settings = {k: v for k, v in settings.items() if k not in ("architectures", "model_type")} | {"use_cache": False}
    kind, config = (LlamaForCausalLM, LlamaConfig) if is_llama else (GPT2LMHeadModel, GPT2Config)
    model = kind(config(**settings, attn_implementation="sdpa"))
    model.load_state_dict((llama_state_to_hf if is_llama else gpt2_state_to_hf)(ours.state_dict(), cfg), strict=False)
    return model, lambda ids, targets: model(ids, labels=targets, shift_labels=targets).loss


def require_agreement(losses: dict[str, Callable[[Tensor, Tensor], Tensor]], cfg: GPTConfig) -> None:
    """AssertionError if two candidates disagree about the loss of one batch."""
    ids = torch.randint(cfg.vocab_size, (2, cfg.context_length + 1), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = {name: loss(ids[:, :-1].contiguous(), ids[:, 1:].contiguous()).item() for name, loss in losses.items()}
    first = next(iter(found.values()))
    for name, value in found.items():
        if not abs(value - first) < 1e-4:
            raise AssertionError(f"{name} disagrees: {value} instead of {first}")


def measure(style: str, cfg: GPTConfig, rounds: int, threads: int, compiled: bool) -> list[Row]:
    """Time one step of all candidates of a style on so many threads."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    ours = GPT(cfg)
    theirs, their_loss = transformers_model(ours, cfg)
    name = f"transformers {type(theirs).__name__}"
    losses = {OURS: ours, name: their_loss}
    tokens = torch.randint(cfg.vocab_size, (200_000,), generator=torch.Generator().manual_seed(2))
    runs: dict[str, Run] = {name: loop_run(theirs, their_loss, cfg, tokens)}
    if style == "GPT-2":
        plain = PlainGPT2(cfg)
        plain.take_weights(ours.state_dict())
        losses["plain loop"] = plain
        runs["plain loop"] = loop_run(plain, plain, cfg, tokens)
    require_agreement(losses, cfg)
    runs[OURS] = our_run(ours, cfg, BATCH, tokens)
    if compiled and which("c++"):  # torch.compile writes C++ for a CPU
        runs[COMPILED] = our_run(copy.deepcopy(ours), cfg, BATCH, tokens, compile=True)
    times = take_turns(runs, rounds, processor_seconds if threads == 1 else wall_seconds)
    task = f"{style} style, {threads} thread{'s' * (threads > 1)}"
    return [row(task, candidate, seconds, times[name], cfg, BATCH) for candidate, seconds in times.items()]


def row(task: str, candidate: str, seconds: float, peer: float, cfg: GPTConfig, batch: int) -> Row:
    """Return one row of the table; `peer` are the seconds that it is compared with."""
    tokens = batch * cfg.context_length
    rates = {"tokens_per_s": tokens / seconds, "gflops": flops_per_token(cfg) * tokens / seconds / 1e9}
    return {"task": task, "candidate": candidate, "seconds": seconds, "over_peer": seconds / peer} | rates


def measure_gpu(rounds: int) -> list[Row]:
    """Time a step of a larger model in bfloat16 on a GPU, as it is and compiled, with the share of its peak."""
    tokens = torch.randint(GPU.vocab_size, (2_000_000,), generator=torch.Generator().manual_seed(2))
    runs: dict[str, Run] = {}
    for name, compiled in ((OURS, False), (COMPILED, True)):
        model = GPT(GPU).to(DEVICE)
        runs[name] = our_run(model, GPU, GPU_BATCH, tokens, precision="bf16", compile=compiled)
        runs[name]()  # compiled, and the optimizer's state made
    times = take_turns(runs, rounds, device_seconds)
    peak = peak_flops(torch.cuda.get_device_name())
    rows = []
    for name, seconds in times.items():
        found = row("GPU, 124M parameters, bfloat16", name, seconds, times[OURS], GPU, GPU_BATCH)
        share = mfu(flops_per_token(GPU) / 6, GPU_BATCH * GPU.context_length / seconds, peak)
        rows.append(found | {"mfu": share})
    return rows


def markdown(rows: list[Row], about: dict[str, str], rounds: int) -> str:
    """Return the results as one Markdown table under a description."""
    lines = [
        "# A step of pretraining, side by side",
        "",
        "Made by `python benchmarks/pretraining.py --table benchmarks/pretraining.md`.",
        "",
        f"- Machine: {', '.join(f'{key} {value}' for key, value in about.items())}.",
        f"- float32, batch {BATCH}, no dropout, fused AdamW, clipping, same weights (losses found equal before); best",
        f"  of {rounds} rounds in one process, candidates take turns. One thread: processor time. Two threads: the",
        "  clock, which a busy machine (load is its load average before the run) makes unreliable.",
        f"- GPT-2 style: {GPT2.n_layers} layers, width {GPT2.d_model}, {GPT2.context_length} tokens, {GPT2.vocab_size}",
        f"  characters. Llama style: {LLAMA.n_layers} layers, width {LLAMA.d_model}, {LLAMA.context_length} tokens,",
        f"  {LLAMA.vocab_size} entries, {LLAMA.n_heads} heads on {LLAMA.n_kv_heads}.",
        "- The trainer's step reads its batch, counts targets, accumulates, clips and logs; the others' loops draw a",
        "  batch, clip and read the loss. GFLOP/s count 6 N + 12 L H Q T operations a token. The peer is transformers'",
        "  model; on a GPU it is our own step without torch.compile.",
        "- About 70% of a Llama style step are the same matrix products on both sides, at the speed that the processor",
        "  has for them, so there is little to be faster with. What is left: one node of the graph for an RMSNorm, and",
        "  for a GELU in the GPT-2 style. torch.compile (where there is a C++ compiler) joins more.",
        "",
        "| task | candidate | ms a step | its time / the peer's | tokens/s | GFLOP/s | MFU |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        cells = [r["task"], r["candidate"], f"{1000 * r['seconds']:.2f}", f"{r['over_peer']:.2f}"]
        cells += [f"{r['tokens_per_s']:,.0f}", f"{r['gflops']:,.1f}", f"{r['mfu']:.1%}" if "mfu" in r else ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the measurements that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="the best of this many (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2], help="(default: %(default)s)")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--table", type=Path, help="also write the Markdown table to this file")
    options = parser.parse_args()
    about = machine("transformers")  # before the measurements: their own load is not the machine's
    rows = measure_gpu(options.rounds) if torch.cuda.is_available() else []
    for threads in options.threads:
        for style, cfg in (("GPT-2", GPT2), ("Llama", LLAMA)):
            rows += measure(style, cfg, options.rounds, threads, options.compile)
    table = markdown(rows, about, options.rounds)
    print(table)
    print(json.dumps({"machine": about, "results": rows}))
    if options.table:
        options.table.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
