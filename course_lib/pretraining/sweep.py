"""A scaling sweep: many models, each trained once for a given amount of compute, in one table.

``python -m course_lib.pretraining.sweep --out table.csv`` makes the table that comes with the course. Each run has a
schedule of its own length: a loss in the middle of a longer run, at a high learning rate, would say nothing about what
that much compute can do (Hoffmann et al. 2022, section 3 and appendix B).
"""

import argparse
import csv
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from course_lib.attention import GPT, GPTConfig, count_params, flops_per_token
from course_lib.pretraining.batches import TokenBatches
from course_lib.pretraining.command import choose_device, open_dataset, spread_batches, write_whole
from course_lib.pretraining.costs import train_flops
from course_lib.pretraining.dataset import TokenSet, prepare_tokens
from course_lib.pretraining.export import END
from course_lib.pretraining.train_config import TrainConfig
from course_lib.pretraining.train_loop import Trainer
from course_lib.tokenization import Tokenizer

TABLE = Path(__file__).parents[1] / "data" / "scaling_sweep.csv"
CONTEXT, BATCH, HEAD = 128, 8, 16
EVALUATED_TOKENS = 131072
SIZES = ((8, 1), (16, 1), (24, 1), (32, 1), (32, 2), (48, 2), (64, 3), (96, 3))  # width, layers
# For each budget, the sizes from too small to too large for it, and how many rates are tried at least.
PLAN: dict[float, tuple[tuple[tuple[int, int], ...], int]] = {
    1e11: (SIZES[:5], 3),
    3e11: (SIZES[1:6], 3),
    1e12: (SIZES[2:7], 2),
    3e12: (SIZES[4:8], 1),
}
FIRST_RATE = 0.032  # of the smallest model at the smallest budget; later ones begin at the best of a neighbour
SEEDS, SEED_BUDGET = (1, 2), 1e11  # repeated there, so that one sees what chance does
COMPILED_WIDTH, COMPILED_FLOPS = 96, 3e12  # compiling takes half a minute, which short runs do not win back


@dataclass(frozen=True)
class SweepRun:
    """A row of the table: what was trained on how much, what it cost, and the loss on held-out text at the end.

    `budget` and `flops_exact` are in FLOPs: the budget that was asked for, and what the matrix products of forward and
    backward passes add up to, attention over all keys included. `flops_6nd` is 6 N D with all parameters. Tokens are
    bytes, and `val_loss` is in nats per byte. `seconds` are those of the training alone.
    """

    budget: float
    width: int
    layers: int
    parameters: int
    parameters_without_embedding: int
    tokens: int
    flops_6nd: float
    flops_exact: float
    lr: float
    seed: int
    val_loss: float
    train_loss: float
    device: str
    seconds: float


def read_sweep(path: str | Path = TABLE) -> list[SweepRun]:
    """Return the rows of a sweep's table, by default of the one that comes with the course.

    A last line that a kill cut off is left out. FileNotFoundError without a file, ValueError if it is another table.

    >>> runs = read_sweep()
    >>> len(runs) >= 40, len({(run.width, run.layers) for run in runs}) >= 5
    (True, True)
    """
    text = Path(path).read_text(encoding="utf-8")
    lines = list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))
    names = [field.name for field in fields(SweepRun)]
    if not lines or lines[0] != names:
        raise ValueError(f"path: expected a table with the columns {', '.join(names)}, got {path}")
    return [
        SweepRun(*(field.type(cell) for field, cell in zip(fields(SweepRun), line, strict=True))) for line in lines[1:]
    ]


def sweep_model(width: int, layers: int) -> GPTConfig:
    """Return the model of a size: a Llama on bytes with heads of 16 and, from two on, half as many for keys.

    >>> count_params(sweep_model(16, 1))["total"]
    7488
    """
    heads = max(1, width // HEAD)
    kv_heads = heads // 2 if heads % 2 == 0 else 1
    return GPTConfig.llama(
        vocab_size=257,
        context_length=CONTEXT,
        n_layers=layers,
        n_heads=heads,
        n_kv_heads=kv_heads,
        d_model=width,
        d_ff=None,
        tied=True,
    )


def train_one(
    budget: float, size: tuple[int, int], lr: float, seed: int, data: TokenSet, device: torch.device
) -> SweepRun:
    """Train a model of `size` (width, layers) for `budget` FLOPs and return its row.

    Warm-up over a twentieth of the steps, then a cosine down to a tenth of `lr` over exactly this run.
    """
    cfg = sweep_model(*size)
    a_token = 3 * flops_per_token(cfg, CONTEXT)
    steps = max(2, round(budget / (a_token * BATCH * CONTEXT)))
    compiled = size[0] >= COMPILED_WIDTH and budget >= COMPILED_FLOPS
    torch.manual_seed(seed)
    model = GPT(cfg).to(device)
    batches = TokenBatches(data.train, BATCH, CONTEXT, seed, device=device)
    settings = TrainConfig(steps=steps, lr=lr, warmup=steps // 20, compile=compiled, seed=seed, progress=False)
    trainer = Trainer(model, batches, settings, spread_batches(data.val, EVALUATED_TOKENS, 32, CONTEXT))
    trainer.run()
    counts, tokens = count_params(cfg), steps * BATCH * CONTEXT
    losses = trainer.log.column("loss")
    return SweepRun(
        budget=budget,
        width=size[0],
        layers=size[1],
        parameters=counts["total"],
        parameters_without_embedding=counts["total"] - counts["token_embedding"],
        tokens=tokens,
        flops_6nd=train_flops(counts["total"], tokens),
        flops_exact=a_token * tokens,
        lr=lr,
        seed=seed,
        val_loss=round(trainer.log.column("val_loss")[-1], 5),
        train_loss=round(sum(losses[-20:]) / len(losses[-20:]), 5),
        device=device_name(device),
        seconds=round(trainer.seconds, 2),
    )


def follow_plan(loss: Callable[[float, tuple[int, int], float, int], float], up_to: float = float("inf")) -> None:
    """Ask for the loss of every run of the plan, as loss(budget, size, lr, seed), up to the budget `up_to`.

    Which rates are asked for depends on the answers: the first is the best of the same size at the budget below, else
    of the next smaller size; halves follow until one is worse, and doubles in the same way, unless, where two runs
    are enough, a half was better. At the largest budget the first rate is the only one.
    """
    best: dict[tuple[int, int], float] = {}
    for budget, (sizes, tries) in PLAN.items():
        if budget > up_to:
            return
        nearest = FIRST_RATE
        for size in sizes:
            first = best.get(size, nearest)
            tried = {first: loss(budget, size, first, 0)}
            for factor in () if tries == 1 else (0.5, 2.0):
                if tries == 2 and min(tried.values()) < tried[first]:
                    break
                rate = first * factor
                while True:
                    tried[rate] = loss(budget, size, rate, 0)
                    if tried[rate] > min(tried.values()):
                        break
                    rate *= factor
            nearest = best[size] = min(tried, key=lambda rate: tried[rate])
            if budget == SEED_BUDGET:
                for seed in SEEDS:
                    loss(budget, size, best[size], seed)


def sweep(
    out: str | Path,
    dataset: str | Path = "python",
    device: str = "auto",
    up_to: float = float("inf"),
    cache: str | Path | None = None,
    progress: bool = True,
) -> list[SweepRun]:
    """Make or complete the table `out` and return its rows; runs that it has already are not done again.

    `dataset` and `device` are those of `pretrain`. Every run is written down as soon as it is done.
    """
    out = Path(out)
    runs = read_sweep(out) if out.is_file() else []
    done = {(run.budget, run.width, run.layers, run.lr, run.seed): run for run in runs}
    tokenizer = Tokenizer.train("", 257, special=[END])  # bytes: the smallest table, and a loss that needs no unit
    data = prepare_tokens(open_dataset(dataset), tokenizer, cache=cache, progress=progress)
    where = choose_device(device)
    write_runs(out, runs)  # without half a line at its end

    def loss(budget: float, size: tuple[int, int], lr: float, seed: int) -> float:
        key = (budget, *size, lr, seed)
        if key not in done:
            run = done[key] = train_one(budget, size, lr, seed, data, where)
            with out.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(asdict(run).values())
            if progress:
                print(f"{budget:.0e} FLOPs, width {size[0]}, {size[1]} layers, rate {lr:g}: {run.val_loss}", flush=True)
        return done[key].val_loss

    follow_plan(loss, up_to)
    return list(done.values())


def write_runs(out: Path, runs: Sequence[SweepRun]) -> None:
    """Write a table, whole or not at all."""

    def write(draft: Path) -> None:
        with draft.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(SweepRun))
            writer.writerows(asdict(run).values() for run in runs)

    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, write)


def device_name(device: torch.device) -> str:
    """Return what the table calls a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()} {torch.get_num_threads()} threads"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; every expected error is one line and exit status 2."""
    p = argparse.ArgumentParser(
        "course_lib.pretraining.sweep", description="Train many models; make or complete a table."
    )
    p.add_argument("--out", required=True, help="the table, a CSV file")
    p.add_argument("--dataset", default="python", help="python, a file or folder, or hf:NAME (default: python)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda ... (default: auto)")
    p.add_argument("--up-to", type=float, default=float("inf"), help="largest budget of one run in FLOPs")
    try:
        sweep(**vars(p.parse_args(argv)))
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
