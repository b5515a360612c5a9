"""Pretrain a language model from text to files: corpus, tokenizer, tokens, training, export, in one folder.

Whatever is there already is taken up again, so the same command may be killed and repeated at any moment.
"""

import importlib
import json
import os
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import GPT
from course_lib.pretraining._arguments import require_fraction, require_int
from course_lib.pretraining.batches import TokenBatches, windows
from course_lib.pretraining.checkpoint import load_checkpoint
from course_lib.pretraining.dataset import TokenSet, prepare_tokens, split_of, tokenizer_hash
from course_lib.pretraining.documents import Corpus, huggingface_corpus, open_corpus
from course_lib.pretraining.export import END, TOKENIZER, export_model
from course_lib.pretraining.recipe import Recipe, describe, recipe
from course_lib.pretraining.train_log import Record, TrainLog
from course_lib.pretraining.train_loop import CHECKPOINT, Trainer
from course_lib.tokenization import Tokenizer

RUN = "run.json"
EVALUATED_TOKENS = 32768  # in the log; the model card measures everything
EVALUATIONS = CHECKPOINTS = 40


def pretrain(
    out: str | Path,
    depth: int = 4,
    dataset: str | Path = "python",
    device: str = "auto",
    precision: str = "auto",
    compile: bool = False,
    tokenizer: str | Path | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    checkpoint_every: int | None = None,
    tensorboard: bool = False,
    cache: str | Path | None = None,
    progress: bool = True,
    until: int | None = None,
    **chosen: Any,
) -> Path:
    """Train a Llama style model on a text and return the folder with all that came of it.

    `depth` decides all sizes, see `recipe`, and `chosen` sets single ones. `dataset` is "python", a file or folder, or
    "hf:NAME" for a data set of the Hugging Face hub. The tokenizer is a byte-level BPE, trained on the training split
    with the special token ``<|endoftext|>``, unless `tokenizer` names the ``tokenizer.json`` of an earlier one.
    "auto" takes a GPU where there is one, and bfloat16 there. `until` stops after so many steps.
    In `out` are then model.safetensors, config.json and tokenizer.json, as transformers reads them, log.jsonl, run.json
    with all settings, and the checkpoint. If it has a checkpoint, the run goes on from there. Before the cool-down has
    begun it may go on to another number of `tokens`.
    ValueError for settings that cannot be, and for other settings than those of the run in the folder.
    """
    require_fraction("val_fraction", val_fraction)
    require_int("seed", seed, 0)
    r = recipe(depth, **chosen)
    where = choose_device(device)
    precision = choose_precision(precision, where)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: expected a folder, got the file {out}")
    writer = _board(out) if tensorboard else None  # before hours of training, not after them
    corpus = open_dataset(dataset)
    out.mkdir(parents=True, exist_ok=True)
    tok = _tokenizer(out, corpus, r.vocab, tokenizer, val_fraction, seed, progress)
    r = replace(r, vocab=len(tok))  # a small text has fewer pairs to merge
    settings = {
        **describe(r),
        "dataset": str(dataset),
        "corpus": corpus.fingerprint,
        "tokenizer": tokenizer_hash(tok),
        "val_fraction": val_fraction,
        "seed": seed,
        "precision": precision,
    }
    _same_run(out, settings)
    data = prepare_tokens(corpus, tok, END, val_fraction, seed, cache, progress)
    trainer = _trainer(out, r, data, where, precision, compile, seed, checkpoint_every, progress)
    if writer is not None:
        trainer.log = BoardLog(trainer.log.path, writer)
    trainer.resume()
    trainer.run(until)
    export_model(trainer.model, tok, out, torch.bfloat16 if precision == "bf16" else torch.float32)
    return out


def open_dataset(dataset: str | Path) -> Corpus:
    """Return the corpus "python", "hf:NAME" of the Hugging Face hub, or a path's; ValueError if there is none.

    >>> open_dataset("no such file")
    Traceback (most recent call last):
    ValueError: dataset: expected python, hf:NAME, or a file or folder that is there, got 'no such file'
    """
    name = str(dataset)
    if name.startswith("hf:"):
        return huggingface_corpus(name.removeprefix("hf:"))
    if name != "python" and not Path(name).exists():
        raise ValueError(f"dataset: expected python, hf:NAME, or a file or folder that is there, got {name!r}")
    return open_corpus(dataset)


def choose_device(device: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU where there is one. ValueError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"device: expected auto, cpu or a GPU that is there, got {device!r}: {reason}") from None
    return found


def choose_precision(precision: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; "auto" is bf16 on a GPU that computes in it."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def spread_batches(tokens: np.ndarray, count: int, batch: int, T: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches with about `count` targets in windows at equal distances: all kinds of documents, quickly.

    >>> [inputs.tolist() for inputs, _ in spread_batches(np.arange(100), 8, batch=2, T=4)]
    [[[0, 1, 2, 3], [95, 96, 97, 98]]]
    """
    T = min(T, len(tokens) - 1)
    last = len(tokens) - T - 1
    starts = np.linspace(0, last, min(max(2, count // T), last + 1)).astype(int)
    return [windows(tokens, starts[i : i + batch].tolist(), T) for i in range(0, len(starts), batch)]


class BoardLog(TrainLog):
    """A log that shows its numbers in TensorBoard as well."""

    def __init__(self, path: Path | None, writer: Any):
        super().__init__(path)
        self.writer = writer

    def add(self, record: Record) -> None:
        """Add a record."""
        super().add(record)
        for name, value in record.items():
            if name != "step":
                self.writer.add_scalar(name, value, record["step"])
        self.writer.flush()


def _board(out: Path) -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(out / "tensorboard"))
    except ImportError:
        raise ValueError("tensorboard: expected the package tensorboard (pip install tensorboard), got none") from None


def _tokenizer(
    out: Path, corpus: Corpus, vocab: int, given: str | Path | None, val_fraction: float, seed: int, progress: bool
) -> Tokenizer:
    """The tokenizer in the folder, or the given one, or a new one: kept in the folder before anything depends on it."""
    if given is not None:
        tok = Tokenizer.load(given)
        if END not in tok.special or sorted([*tok.vocab, *tok.special.values()]) != list(range(len(tok))):
            raise ValueError(f"tokenizer: expected ids from 0 without gaps and the special token {END}, got {given}")
        return tok
    if (out / TOKENIZER).is_file():
        return Tokenizer.load(out / TOKENIZER)
    texts = (document.text for document in corpus if split_of(document.group, val_fraction, seed) == "train")
    tok = Tokenizer.train(texts, vocab, special=[END], progress=progress)
    write_whole(out / TOKENIZER, tok.save)
    return tok


def write_whole(path: Path, write: Any) -> None:
    """Let `write` fill a file under another name and rename it: it is there whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    write(draft)
    os.replace(draft, path)


def _same_run(out: Path, settings: dict[str, Any]) -> None:
    """Keep the settings in the folder; ValueError if those of a run that has begun are others.

    More or fewer tokens are no other run as long as all rates so far are the same, as before the cool-down they are.
    """
    text = json.dumps(settings, indent=1) + "\n"
    if (out / RUN).is_file() and (out / CHECKPOINT).is_file():
        before = json.loads((out / RUN).read_text(encoding="utf-8"))
        other = [name for name in settings if before.get(name) != settings[name]]
        if other and not (set(other) <= {"tokens", "steps"} and _same_rates(out, before, settings)):
            raise ValueError(
                f"{other[0]}: expected {before.get(other[0])!r}, as in the run in {out}, got {settings[other[0]]!r}; "
                "another folder begins another run"
            )
    write_whole(out / RUN, lambda draft: draft.write_text(text, encoding="utf-8"))


def _same_rates(out: Path, before: dict[str, Any], after: dict[str, Any]) -> bool:
    done = load_checkpoint(out / CHECKPOINT, restore_random=False)["step"]
    names = [field.name for field in fields(Recipe)]
    one, two = (Recipe(**{name: each[name] for name in names}).train_config() for each in (before, after))
    return done <= two.steps and all(one.rate(step) == two.rate(step) for step in range(done))


def _trainer(
    out: Path,
    r: Recipe,
    data: TokenSet,
    device: torch.device,
    precision: str,
    compile: bool,
    seed: int,
    checkpoint_every: int | None,
    progress: bool,
) -> Trainer:
    every = max(1, r.steps // CHECKPOINTS)
    cfg = r.train_config(
        precision=precision,
        compile=compile,
        eval_every=max(1, r.steps // EVALUATIONS),
        checkpoint_every=every if checkpoint_every is None else checkpoint_every,
        folder=out,
        seed=seed,
        progress=progress,
    )
    torch.manual_seed(seed)  # the first weights
    model = GPT(r.gpt_config()).to(device)
    batches = TokenBatches(data.train, r.batch, r.context, seed, device=device)
    evaluation: Iterable[Any] = spread_batches(data.val, EVALUATED_TOKENS, r.batch, r.context) if len(data.val) else ()
    return Trainer(model, batches, cfg, list(evaluation) or None)
