"""How good a language model is at text that it has not seen, in bits per byte, next to what counting and zipping do.

Bits per byte compare models with different tokenizers, and programs that are no language model at all: a file that is
zipped to a quarter of its size has been given 2 bits for each of its bytes.
"""

import gzip
import lzma
import math
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import GPT
from course_lib.pretraining.dataset import split_of
from course_lib.pretraining.documents import PARTS, Corpus
from course_lib.pretraining.export import END
from course_lib.pretraining.kneser_ney import kneser_ney, train_kneser_ney
from course_lib.pretraining.packing import IGNORE
from course_lib.tokenization import Tokenizer

ROWS = 16  # windows computed at a time


@torch.no_grad()
def bits_per_byte(model: GPT, tokenizer: Tokenizer, texts: str | Iterable[str]) -> float:
    """Return how many bits per UTF-8 byte a model needs for one text or for several documents.

    Each document stands after an end-of-document token, and only its own tokens count. The documents are read in
    windows of the model's context length that overlap by half: every token is predicted once, and from at least half a
    window of what stands before it, as far as there is so much.
    ValueError if there is no text, and for a tokenizer without the special token ``<|endoftext|>``.

    >>> from course_lib.attention import GPTConfig
    >>> tokenizer = Tokenizer.train("", 257, special=[END])  # a token for each byte
    >>> model = GPT(GPTConfig.llama(vocab_size=257, context_length=8, n_layers=1, n_heads=1, d_model=2))
    >>> _ = [p.detach().zero_() for p in model.parameters()]  # all tokens equally likely
    >>> round(bits_per_byte(model, tokenizer, "any text at all"), 4) == round(math.log2(257), 4)
    True
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    size = sum(len(text.encode()) for text in texts)
    if not size:
        raise ValueError("texts: expected some text, got none")
    ids = torch.tensor(token_row(tokenizer, texts))
    end, device = tokenizer.special[END], next(model.parameters()).device
    was_training, nats = model.training, 0.0
    model.eval()
    try:
        for inputs, targets in overlapping_windows(ids, model.cfg.context_length):
            targets = targets.masked_fill(targets == end, IGNORE).to(device)
            logits = model(inputs.to(device)).float()
            nats += F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum").item()
    finally:
        model.train(was_training)
    return nats / math.log(2) / size


def token_row(tokenizer: Tokenizer, texts: Iterable[str]) -> list[int]:
    """Return the tokens of all documents in one row, each after an end-of-document token.

    >>> token_row(Tokenizer.train("", 257, special=[END]), ["a", "b"])
    [256, 97, 256, 98]
    """
    if END not in tokenizer.special:
        raise ValueError(f"tokenizer: expected the special token {END}, got {list(tokenizer.special)}")
    end = [tokenizer.special[END]]
    return list(chain.from_iterable(end + tokenizer.encode_ordinary(text) for text in texts))


def overlapping_windows(ids: Tensor, T: int) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield (inputs, targets) [B, T] with every token of ids [N] but the first as a target once, the others -100.

    >>> [targets.tolist() for _, targets in overlapping_windows(torch.arange(8), T=4)]
    [[[1, 2, 3, 4], [-100, -100, 5, 6], [-100, -100, 7, -100]]]
    """
    step = max(1, T // 2)
    starts = range(0, max(1, len(ids) - 1 - (T - step)), step)
    for first in range(0, len(starts), ROWS):
        rows = starts[first : first + ROWS]
        inputs, targets = ids.new_zeros(len(rows), T), ids.new_full((len(rows), T), IGNORE)
        for i, start in enumerate(rows):
            piece = ids[start : start + T + 1]
            n = len(piece) - 1
            old = T - step if start else 0  # what the window before has predicted
            inputs[i, :n], targets[i, old:n] = piece[:-1], piece[1 + old :]
        yield inputs, targets


def split_texts(corpus: Corpus, val_fraction: float = 0.1, seed: int = 0) -> dict[str, dict[str, list[str]]]:
    """Return the documents as texts[split][part]: "train" and "val", and a part for each kind of Python's text.

    The split is that of `prepare_tokens`. Documents of other corpora are all of the part "text". All text is in memory.
    """
    found: dict[str, dict[str, list[str]]] = {"train": {}, "val": {}}
    pieces: list[str] = []
    for document in corpus:
        pieces.append(document.text)
        if document.ends:
            part = document.source.partition(": ")[0]
            split = found[split_of(document.group, val_fraction, seed)]
            split.setdefault(part if part in PARTS else "text", []).append("".join(pieces))
            pieces = []
    return found


def zip_bits_per_byte(texts: Sequence[str]) -> dict[str, float]:
    """Return bits per byte of gzip and of xz (LZMA) for the documents in one file, each at its best setting.

    >>> sorted(zip_bits_per_byte(["abab" * 1000]))
    ['gzip', 'xz']
    """
    data = "".join(texts).encode()
    return {
        "gzip": 8 * len(gzip.compress(data, 9)) / len(data),
        "xz": 8 * len(lzma.compress(data, preset=9)) / len(data),
    }


def primed_xz_bits_per_byte(train: Sequence[str], texts: Sequence[str]) -> float:
    """Return the bits per byte that `texts` add to an xz file of `train`: a fair race, with the same text seen before.

    >>> primed_xz_bits_per_byte(["abcdefgh" * 99], ["abcdefgh" * 99]) < 1
    True
    """
    before, data = "".join(train).encode(), "".join(texts).encode()
    # A dictionary as large as both together: what was seen at the beginning is still known at the end.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": max(4096, len(before) + len(data))}]
    with_it, without = (len(lzma.compress(x, filters=filters)) for x in (before + data, before))
    return 8 * (with_it - without) / len(data)


def ngram_bits_per_byte(
    tokenizer: Tokenizer, train: Sequence[str], parts: dict[str, Sequence[str]], n: int
) -> dict[str, float]:
    """Return the bits per byte of a Kneser-Ney model of order n, by part: counted on the tokens of `train`.

    The same tokens count as in `bits_per_byte`.

    >>> tokenizer = Tokenizer.train("", 257, special=[END])
    >>> bits = ngram_bits_per_byte(tokenizer, ["abc" * 50], {"same": ["abc" * 9], "other": ["xyz" * 9]}, n=2)
    >>> bits["same"] < 1 < 8 < bits["other"]
    True
    """
    model = train_kneser_ney(token_row(tokenizer, train), n, len(tokenizer))
    end, result = tokenizer.special[END], {}
    for part, texts in parts.items():
        row = token_row(tokenizer, texts)
        probabilities = [kneser_ney(w, row[max(0, i - n + 1) : i], model) for i, w in enumerate(row) if w != end]
        result[part] = -float(np.log2(probabilities).sum()) / sum(len(text.encode()) for text in texts)
    return result


@torch.no_grad()
def continue_text(
    model: GPT, tokenizer: Tokenizer, prompt: str, tokens: int = 80, temperature: float = 0.8, seed: int = 0
) -> str:
    """Return the prompt with up to `tokens` tokens that the model puts after it; an end of document ends it.

    Each is drawn from softmax(logits / temperature), by a random stream of its own; at 0 it is the likeliest one.
    ValueError for a negative temperature.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature: expected a non-negative number, got {temperature!r}")
    generator = torch.Generator().manual_seed(seed)
    end = tokenizer.special[END]
    ids = [end, *tokenizer.encode_ordinary(prompt)]
    device = next(model.parameters()).device
    for _ in range(tokens):
        logits = model(torch.tensor([ids[-model.cfg.context_length :]], device=device))[0, -1].float().cpu()
        if temperature:
            new = int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=generator))
        else:
            new = int(logits.argmax())
        if new == end:
            break
        ids.append(new)
    return tokenizer.decode(ids[1:])
