"""Publish a finished run: the files that load, a thinned log, and a model card whose numbers are measured here.

``python -m course_lib.pretraining.card RUN --to FOLDER --hardware "..."`` made the folders of the models that come with
the course.
"""

import argparse
import json
import math
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.attention import GPT, flops_per_token
from course_lib.attention.weights_folder import CONFIG, WEIGHTS
from course_lib.pretraining.command import RUN, open_dataset, write_whole
from course_lib.pretraining.costs import train_flops
from course_lib.pretraining.evaluate import (
    bits_per_byte,
    continue_text,
    ngram_bits_per_byte,
    primed_xz_bits_per_byte,
    split_texts,
    zip_bits_per_byte,
)
from course_lib.pretraining.export import TOKENIZER, load_exported
from course_lib.pretraining.recipe import Recipe, recipe
from course_lib.pretraining.train_log import Record, read_log
from course_lib.pretraining.train_loop import LOG
from course_lib.tokenization import Tokenizer

Bits = dict[str, dict[str, float]]  # by method and part
EVALUATION, CARD = "evaluation.json", "README.md"
LOG_BYTES = 90_000
NGRAM_ORDER = 4
PROMPTS = (
    "The following sections describe",
    "A class definition is",
    "Return a list of",
    "def read_file(path):\n",
    "import os\nimport sys\n\nclass ",
    "for i in range(",
    "The capital of France is",
    "2 + 2 =",
)


def publish(
    run: str | Path,
    to: str | Path,
    hardware: str,
    about: str = "",
    notes: Sequence[str] = (),
    like: str | Path | None = None,
) -> dict[str, Any]:
    """Measure the model of a finished run, write everything to the folder `to`, and return what was measured.

    What counting and zipping do takes minutes; it is taken from the folder `like`, published before on the same text
    with the same tokenizer. ValueError if it is not, if the run is not finished, or if this machine's text is not the
    one that it was trained on: the held-out documents would be others.
    """
    run, to = Path(run), Path(to)
    settings = json.loads((run / RUN).read_text(encoding="utf-8"))
    log = read_log(run / LOG)
    done = max((record["step"] for record in log), default=0)
    if done < settings["steps"]:
        raise ValueError(f"run: expected a finished run of {settings['steps']} steps, got {run} after {done}")
    corpus = open_dataset(settings["dataset"])
    if corpus.fingerprint != settings["corpus"]:
        raise ValueError(f"run: expected a run on the text of this machine, got {run}, trained on another")
    model, tokenizer = load_exported(run)
    names = ("corpus", "tokenizer", "val_fraction", "seed")
    same = {name: settings[name] for name in names}
    known = None if like is None else json.loads((Path(like) / EVALUATION).read_text(encoding="utf-8"))
    if known is not None and {name: known.get(name) for name in names} != same:
        raise ValueError(f"like: expected a model with the text and tokenizer of {run}, got {like}")
    texts = split_texts(corpus, settings["val_fraction"], settings["seed"])
    measured = measure(model, tokenizer, texts, known and known["bits_per_byte"])
    measured |= same | {"python": platform.python_version()}
    to.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, CONFIG, TOKENIZER, RUN):
        shutil.copyfile(run / name, to / name)
    lines = [json.dumps(record) + "\n" for record in thinned(log)]
    write_text(to / LOG, "".join(lines))
    write_text(to / EVALUATION, json.dumps(measured, indent=1) + "\n")
    write_text(to / CARD, card(to.name, settings, log, measured, model, hardware, about, notes))
    return measured


def measure(
    model: GPT, tokenizer: Tokenizer, texts: dict[str, dict[str, list[str]]], others: Bits | None = None
) -> dict[str, Any]:
    """Return bits per byte on each held-out part by several methods, and samples; `texts` as from `split_texts`.

    `others` are the bits of the other methods, if they are known.
    """
    held_out = texts["val"]
    bits = dict(baselines(tokenizer, texts) if others is None else others)
    bits["model"] = {part: bits_per_byte(model, tokenizer, documents) for part, documents in held_out.items()}
    sizes = {part: sum(len(text.encode()) for text in documents) for part, documents in held_out.items()}
    samples = [continue_text(model, tokenizer, prompt) for prompt in PROMPTS]
    rounded = {name: {part: round(value, 4) for part, value in row.items()} for name, row in bits.items()}
    return {"bits_per_byte": rounded, "held_out_bytes": sizes, "samples": samples}


def baselines(tokenizer: Tokenizer, texts: dict[str, dict[str, list[str]]]) -> Bits:
    """Return bits per byte on each held-out part of what is no neural network; `texts` as from `split_texts`."""
    train = [text for part in texts["train"].values() for text in part]
    bits: Bits = {"gzip": {}, "xz": {}, "xz after the training text": {}}
    for part, documents in texts["val"].items():
        for name, value in zip_bits_per_byte(documents).items():
            bits[name][part] = value
        bits["xz after the training text"][part] = primed_xz_bits_per_byte(train, documents)
    for name, n in (("unigram", 1), (f"Kneser-Ney {NGRAM_ORDER}-gram", NGRAM_ORDER)):
        bits[name] = ngram_bits_per_byte(tokenizer, train, texts["val"], n)
    return bits


def thinned(log: Sequence[Record], size: int = LOG_BYTES) -> list[Record]:
    """Return every k-th record of a step, and all others, so that the lines have at most about `size` bytes.

    >>> [record["step"] for record in thinned([{"step": i, "loss": 1.0} for i in range(1, 100)], size=300)][:3]
    [1, 10, 19]
    """
    steps = [record for record in log if "loss" in record]
    kept = [record for record in log if "loss" not in record]
    room = max(1, size - sum(len(json.dumps(record)) + 1 for record in kept))
    k = max(1, math.ceil(sum(len(json.dumps(record)) + 1 for record in steps) / room))
    return sorted([*steps[::k], *kept], key=lambda record: record["step"])


def command_of(settings: dict[str, Any]) -> str:
    """Return the command line of a run from its settings: what follows from the depth is left out.

    >>> command_of({"depth": 2, "tokens": 1000, "width": 128, "dataset": "python", "precision": "fp32"})
    'python -m course_lib.pretraining --depth 2 --tokens 1000 --out FOLDER'
    """
    chosen: dict[str, Any] = {}
    for name in Recipe.__dataclass_fields__:
        if name in settings and settings[name] != getattr(recipe(settings["depth"], **chosen), name):
            chosen[name] = settings[name]  # what is chosen may change what else follows
    words = ["python -m course_lib.pretraining", f"--depth {settings['depth']}"]
    words += [f"--{name.replace('_', '-')} {value}" for name, value in chosen.items()]
    for name, default in (("dataset", "python"), ("val_fraction", 0.1), ("seed", 0), ("precision", "fp32")):
        if settings.get(name, default) != default:
            words.append(f"--{name.replace('_', '-')} {settings[name]}")
    return " ".join([*words, "--out FOLDER"])


def card(
    name: str,
    settings: dict[str, Any],
    log: Sequence[Record],
    measured: dict[str, Any],
    model: GPT,
    hardware: str,
    about: str,
    notes: Sequence[str],
) -> str:
    """Return the model card, in Markdown."""
    last = [record for record in log if "loss" in record][-1]
    tokens, parameters = last["tokens"], settings["parameters"]
    exact = 3 * flops_per_token(model.cfg, settings["context"]) * tokens
    split = f"{settings['val_fraction']:.0%} of the documents held out"
    heads = f"{settings['heads']} heads of queries, {settings['kv_heads']} of keys and values"
    facts = [
        f"- Command: `{command_of(settings)}`" + (f" ({about})" if about else ""),
        f"- Text: {settings['dataset']}, as it comes with Python {measured['python']}; {split}",
        f"- Fingerprint of the text (SHA-256): `{settings['corpus']}`",
        f"- Model: {parameters:,} parameters, {settings['parameters_without_embedding']:,} without the embedding table",
        f"- Sizes: {settings['depth']} layers, width {settings['width']}, {heads}, context {settings['context']},"
        f" vocabulary {settings['vocab']:,}",
        f"- Training: {last['step']:,} updates, {tokens:,} tokens (texts repeat), highest rate {settings['lr']:g},"
        f" {settings['precision']}",
        f"- Operations: {train_flops(parameters, tokens):.3g} by 6 N D; {exact:.3g} counted matrix by matrix, attention"
        " included",
        f"- Hardware: {hardware}; {last['seconds'] / 60:.0f} minutes",
        *(f"- {note}" for note in notes),
    ]
    sections = [
        f"# The model `{name}`",
        INTRODUCTION.format(name=name),
        "## How it was made\n\n" + "\n".join(facts),
        "## Loss while it was trained\n\nIn nats per token; the held-out loss is that of a sample of windows.",
        loss_table(log),
        BITS,
        bits_table(measured),
        "## Samples\n\nDrawn at temperature 0.8 with seed 0, the first one for each prompt, good or bad.",
        *(f"```text\n{sample.rstrip()}\n```" for sample in measured["samples"]),
        LIMITS,
    ]
    return "\n\n".join(sections) + "\n"


INTRODUCTION = """A small Llama style language model that knows nothing but the text that comes with Python.
This course's own code trained it from scratch. `course_lib.base_model("{name}")` loads it, and so does transformers,
as a `LlamaForCausalLM` with a `PreTrainedTokenizerFast`."""

BITS = """## Bits per byte on held-out text

Less is better. The n-gram models count the same training tokens; gzip and xz see the held-out text alone; xz after the
training text may point back into it. xz can copy from anywhere, which pays where files resemble each other; the model
sees no more than its context at a time. evaluation.json has all digits."""

LIMITS = """## Limits

It has the form of documentation and code, not their sense: names, signatures and claims are often invented, code often
does not run, and facts about the world are not in it. It knows one language, English, and that of manuals only. What it
says about Python may be wrong. It follows no instructions. Long repetitions happen, most of all at low temperatures.
Parts of the standard library's text, copyright notices and authors' names among them, may come back word for word.

## Licence

The text is Python's documentation and standard library, © Python Software Foundation, under the PSF License
Agreement (PSF-2.0), with parts under licences of their own that the files name. The weights were made from it and are
given away under the same terms as this course's code, as far as that is ours to give; the PSF's terms go with what
the model repeats."""


def loss_table(log: Sequence[Record], rows: int = 14) -> str:
    """Return a table of steps, tokens and losses, evenly spaced; the training loss is a mean since the row before."""
    evaluations = [record for record in log if "val_loss" in record]
    chosen = evaluations[:: max(1, len(evaluations) // rows)]
    if evaluations and chosen[-1] is not evaluations[-1]:
        chosen.append(evaluations[-1])
    by_step = {record["step"]: record for record in log if "loss" in record}
    lines, before = ["| step | tokens | rate | training loss | held-out loss |", "|---:|---:|---:|---:|---:|"], 0
    for record in chosen:
        step = record["step"]
        losses = [by_step[i]["loss"] for i in range(before + 1, step + 1) if i in by_step]
        at = by_step[step]
        cells = (f"{step:,}", f"{at['tokens']:,}", f"{at['lr']:.2g}", f"{sum(losses) / len(losses):.3f}")
        lines.append(f"| {' | '.join(cells)} | {record['val_loss']:.3f} |")
        before = step
    return "\n".join(lines)


def bits_table(measured: dict[str, Any]) -> str:
    """Return the table of bits per byte by method and part."""
    parts = list(measured["held_out_bytes"])
    heads = [f"{part} ({measured['held_out_bytes'][part] / 1000:,.0f} kB)" for part in parts]
    lines = [f"| method | {' | '.join(heads)} |", "|---|" + "---:|" * len(parts)]
    for name, row in sorted(measured["bits_per_byte"].items(), key=lambda item: sum(item[1].values())):
        lines.append(
            f"| {'**this model**' if name == 'model' else name} | {' | '.join(f'{row[p]:.2f}' for p in parts)} |"
        )
    return "\n".join(lines)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; every expected error is one line and exit status 2."""
    p = argparse.ArgumentParser("course_lib.pretraining.card", description="Publish a finished run with a model card.")
    p.add_argument("run", help="the folder of the run")
    p.add_argument("--to", required=True, help="the folder to write; its name is the model's")
    p.add_argument("--hardware", required=True, help="what it was trained on, in words")
    p.add_argument("--about", default="", help="what the command line leaves open, in words")
    p.add_argument("--note", action="append", default=[], dest="notes", help="a further line; may be given again")
    p.add_argument("--like", help="a folder published before on the same text, whose comparisons are taken")
    try:
        publish(**vars(p.parse_args(argv)))
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(f"card: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
