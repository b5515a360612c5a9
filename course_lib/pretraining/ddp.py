"""Pretrain a GPT on a text, in one process or in several at once.

One process:    python -m course_lib.pretraining.ddp --folder runs/first --steps 200
Two, one node:  torchrun --nproc-per-node 2 -m course_lib.pretraining.ddp --folder runs/first --steps 200

The text is a file given with --text, or else Python's own language reference; a token is a byte of it. Each process
reads its own rows of every batch, gradients are added up over all of them, and each token counts the same, on whichever
process it is. So R processes with B rows each make the same steps as one that accumulates R batches of B rows. Started
again with the same --folder, a run goes on from its last checkpoint.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining.batches import TokenBatches, evaluation_batches
from course_lib.pretraining.distributed import process_group, rank, world_size
from course_lib.pretraining.train_config import PRECISIONS, SCHEDULES, TrainConfig
from course_lib.pretraining.train_loop import Trainer


def main(arguments: Sequence[str] | None = None) -> Trainer:
    """Train as the command line says, and return the trainer."""
    args = parser().parse_args(arguments)
    with process_group() as device:
        train_ids, held_out = split(read_tokens(args.text), args.held_out)
        batches = TokenBatches(
            train_ids, args.batch, args.context, args.seed, device=device, rank=rank(), world=world_size()
        )
        torch.manual_seed(args.seed)  # so that all processes make the same model
        cfg = GPTConfig(256, args.context, args.layers, args.heads, args.width, dropout=args.dropout)
        model = GPT(cfg).to(device)
        settings = TrainConfig(
            steps=args.steps,
            lr=args.lr,
            warmup=args.warmup,
            schedule=args.schedule,
            accumulation=args.accumulation,
            precision=args.precision,
            compile=args.compile,
            eval_every=args.eval_every,
            checkpoint_every=args.checkpoint_every,
            guard_every=args.guard_every,
            folder=args.folder,
            seed=args.seed,
            progress=not args.quiet,
        )
        trainer = Trainer(model, batches, settings, lambda: evaluation_batches(held_out, args.batch, args.context))
        resumed = trainer.resume()
        if rank() == 0 and not args.quiet:
            size = sum(p.numel() for p in model.parameters())
            print(f"{size:,} parameters, {len(train_ids):,} tokens, {world_size()} process(es) on {device.type}")
            print(f"going on from step {trainer.step}" if resumed else "from the beginning")
        log = trainer.run()
        if rank() == 0 and not args.quiet:
            print(f"loss {log.column('loss')[-1]:.3f}, held-out loss {log.column('val_loss')[-1]:.3f} nats per byte")
    return trainer


def read_tokens(path: str | Path | None) -> Tensor:
    """Return the bytes of a file as tokens [N], uint8; of Python's language reference if there is no path."""
    if path is None:
        from course_lib.corpus import python_reference

        return torch.frombuffer(bytearray(python_reference().encode()), dtype=torch.uint8)
    content = Path(path).read_bytes()
    if not content:
        raise ValueError(f"path: expected a file that is not empty, got {path}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def split(tokens: Tensor, held_out: float) -> tuple[Tensor, Tensor]:
    """Cut off the last part of a text [N] for evaluation: one cut, so that no window reaches across it.

    ValueError if `held_out` is no share between 0 and 1, or leaves fewer than two tokens on either side.

    >>> [len(part) for part in split(torch.arange(50), 0.1)]
    [45, 5]
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out: expected a share between 0 and 1, got {held_out!r}")
    cut = len(tokens) - round(held_out * len(tokens))
    if min(cut, len(tokens) - cut) < 2:
        raise ValueError(f"held_out: expected at least two tokens on either side, got {cut} and {len(tokens) - cut}")
    return tokens[:cut], tokens[cut:]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser("course_lib.pretraining.ddp", description="Pretrain a GPT on the bytes of a text.")
    p.add_argument("--folder", help="where checkpoint and log go; a run that is there goes on")
    p.add_argument("--text", help="a file; its bytes are the tokens (default: Python's language reference)")
    p.add_argument("--held-out", type=float, default=0.1, help="share of the text, at its end, for evaluation")
    for name, default, what in (
        ("steps", 1000, "updates of the weights"),
        ("batch", 16, "rows of a batch, in each process"),
        ("accumulation", 1, "batches for one update, in each process"),
        ("context", 64, "tokens of a row"),
        ("layers", 2, "layers of the model"),
        ("heads", 2, "attention heads of a layer"),
        ("width", 64, "width of the model"),
        ("warmup", 50, "steps of rising learning rate"),
        ("eval-every", 0, "steps between evaluations; 0: only at the end"),
        ("checkpoint-every", 100, "steps between checkpoints; 0: only at the end"),
        ("guard-every", 0, "steps between states to return to from a loss spike; 0: no guard"),
        ("seed", 0, "seed of weights, order of the data, and dropout"),
    ):
        p.add_argument(f"--{name}", type=int, default=default, help=f"{what} (default: {default})")
    p.add_argument("--lr", type=float, default=3e-3, help="highest learning rate (default: 3e-3)")
    p.add_argument("--dropout", type=float, default=0.0, help="share that dropout leaves out (default: 0)")
    p.add_argument("--schedule", choices=SCHEDULES, default="cosine")
    p.add_argument("--precision", choices=PRECISIONS, default="fp32")
    p.add_argument("--compile", action="store_true", help="compile the model first")
    p.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    return p


if __name__ == "__main__":
    main()
