"""Save and load a tokenizer as a Hugging Face `tokenizer.json` (byte-level BPE)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from course_lib.tokenization.byte_alphabet import text_to_token, token_to_text
from course_lib.tokenization.byte_bpe import Vocab
from course_lib.tokenization.pairs import Pair
from course_lib.tokenization.pretokenizer import GPT2_PATTERN


class Parts(NamedTuple):
    """What a byte-level BPE tokenizer is made of, in the order in which `Tokenizer` takes it."""

    vocab: Vocab
    merges: list[Pair]
    pattern: str
    special: dict[str, int]
    whole_pieces: bool


class HasParts(Protocol):
    """Anything with the attributes of `Parts`, such as a `Tokenizer`."""

    vocab: Vocab
    merges: list[Pair]
    pattern: str
    special: dict[str, int]
    whole_pieces: bool


def save_tokenizer_json(tokenizer: HasParts, path: str | Path) -> None:
    """Write `tokenizer` so that the library `tokenizers` reads it and gives the same ids.

    One difference cannot be written down: the library always turns special strings in a text into their ids, while
    `Tokenizer.encode` does so only where the caller allows it. ValueError if a special string reads like an ordinary
    token, because the file has one name for each.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tokenizer.json"
    >>> parts = Parts({i: bytes([i]) for i in range(256)} | {256: b"lo"}, [(108, 111)], GPT2_PATTERN, {}, False)
    >>> save_tokenizer_json(parts, path)
    >>> read_tokenizer_json(path) == parts
    True
    """
    name = {i: token_to_text(token) for i, token in tokenizer.vocab.items()}
    clash = set(name.values()) & tokenizer.special.keys()
    if clash:
        raise ValueError(f"special: expected strings that are no ordinary token's name, got {sorted(clash)}")
    special = sorted(tokenizer.special.items(), key=lambda item: item[1])
    vocab = {token: i for i, token in name.items()} | dict(special)  # in both places, so that no id is renumbered
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(content, i) for content, i in special],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": tokenizer.pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": tokenizer.whole_pieces,
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [[name[left], name[right]] for left, right in tokenizer.merges],
        },
    }
    Path(path).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_tokenizer_json(path: str | Path) -> Parts:
    """Read the parts of a byte-level BPE tokenizer from a `tokenizer.json`.

    Added tokens become special strings. ValueError, naming the setting, if the file is no tokenizer or asks for
    something that `Tokenizer` does not do (another model, a normalizer, dropout, a space put before the text ...).
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not UTF-8
        raise ValueError(f"path: expected a tokenizer.json, got {str(path)!r}: {error}") from None
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or not {"vocab", "merges"} <= model.keys():
        raise ValueError(f"path: expected a tokenizer.json with a BPE model, got {str(path)!r} without one")
    unsupported = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    for setting in unsupported:
        _refuse(f"model.{setting}", model.get(setting))
    _refuse("normalizer", document.get("normalizer"))
    pattern = _read_pattern(document.get("pre_tokenizer"))

    special = {token["content"]: token["id"] for token in document.get("added_tokens", [])}
    id_of: dict[str, int] = {name: i for name, i in model["vocab"].items() if name not in special}
    vocab = {i: text_to_token(name) for name, i in id_of.items()}
    merges = []
    for rank, merge in enumerate(model["merges"]):
        left, _, right = merge.partition(" ") if isinstance(merge, str) else (merge[0], None, merge[1])
        if left not in id_of or right not in id_of:
            raise ValueError(f"model.merges[{rank}]: expected two tokens of the vocabulary, got {merge!r}")
        merges.append((id_of[left], id_of[right]))
    return Parts(vocab, merges, pattern, special, bool(model.get("ignore_merges")))


def _added_token(content: str, token_id: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": content, **flags}


def _read_pattern(pre_tokenizer: Mapping[str, Any] | None) -> str:
    """Return the one splitting pattern of a pre-tokenizer made of Split and ByteLevel steps."""
    steps = [pre_tokenizer or {}]
    if steps[0].get("type") == "Sequence":
        steps = steps[0].get("pretokenizers", [])
    patterns: list[str] = []
    for step in steps:
        kind = step.get("type")
        if kind == "ByteLevel":
            _refuse("pre_tokenizer.add_prefix_space", step.get("add_prefix_space", True))
            if step.get("use_regex", True):
                patterns.append(GPT2_PATTERN)
        elif kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
            regex, string = step["pattern"].get("Regex"), step["pattern"].get("String")
            patterns.append(regex if regex is not None else _literal(string))
        else:
            raise ValueError(f"pre_tokenizer: expected Split (isolated) and ByteLevel, got {kind!r}")
    if not steps or steps[-1].get("type") != "ByteLevel" or len(patterns) != 1:
        raise ValueError(f"pre_tokenizer: expected one pattern and a final ByteLevel, got {len(patterns)} patterns")
    return patterns[0]


def _literal(string: str) -> str:
    import regex

    return regex.escape(string)


def _refuse(setting: str, value: Any) -> None:
    if value:
        raise ValueError(f"{setting}: expected it to be off, got {value!r}, which this tokenizer does not do")
