"""The command line of pretraining: ``python -m course_lib.pretraining --depth 4 --out runs/first``."""

import argparse
import sys
from collections.abc import Sequence

from course_lib.pretraining.command import pretrain

SIZES = (
    ("tokens", int, "tokens to read, with repetition"),
    ("vocab", int, "tokens of the vocabulary"),
    ("width", int, "width of the model"),
    ("heads", int, "attention heads"),
    ("kv-heads", int, "heads of keys and values"),
    ("mlp-width", int, "width inside the MLPs"),
    ("context", int, "tokens of a row"),
    ("batch", int, "rows of an update"),
    ("lr", float, "highest learning rate"),
)


def parser() -> argparse.ArgumentParser:
    """Return the parser; what is not given follows from the depth, see `recipe`."""
    p = argparse.ArgumentParser(
        "course_lib.pretraining",
        description="Pretrain a Llama style language model. One dial, the depth, decides all sizes that are not given.",
    )
    p.add_argument("--depth", type=int, default=4, help="layers of the model (default: 4)")
    p.add_argument("--out", required=True, help="folder for model, tokenizer, log and checkpoint; a run there goes on")
    p.add_argument("--dataset", default="python", help="python, a file or folder, or hf:NAME (default: python)")
    p.add_argument("--tokenizer", help="tokenizer.json of an earlier run (default: train one)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    p.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 on a GPU")
    for name, kind, what in SIZES:
        p.add_argument(f"--{name}", type=kind, metavar="N", help=f"{what} (default: from the depth)")
    p.add_argument("--val-fraction", type=float, default=0.1, help="share of the documents held out (default: 0.1)")
    p.add_argument("--seed", type=int, default=0, help="seed of weights, split and order (default: 0)")
    p.add_argument("--checkpoint-every", type=int, metavar="N", help="steps between checkpoints (default: 40 in a run)")
    p.add_argument("--compile", action="store_true", help="compile the model first: slow to start, faster afterwards")
    p.add_argument("--tensorboard", action="store_true", help="show the log in TensorBoard, too, if it is installed")
    p.add_argument("--until", type=int, metavar="STEP", help="stop after this step; the same command goes on")
    p.add_argument("--quiet", action="store_true", help="no progress bars")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; every expected error is one line and exit status 2."""
    arguments = vars(parser().parse_args(argv))
    progress = not arguments.pop("quiet")
    try:
        out = pretrain(progress=progress, **arguments)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(f"pretraining: {error}", file=sys.stderr)
        sys.exit(2)
    if progress:
        print(f"model, tokenizer and log are in {out}")
