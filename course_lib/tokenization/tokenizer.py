"""A trained byte-level BPE tokenizer: the same ids as `encode`, fast, with special tokens and files."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from course_lib.tokenization._arguments import encode_utf8, require_int
from course_lib.tokenization.byte_bpe import Vocab
from course_lib.tokenization.byte_bpe_fast import train_byte_bpe_fast
from course_lib.tokenization.pairs import Pair
from course_lib.tokenization.piece_encoder import PieceEncoder
from course_lib.tokenization.pretokenizer import GPT2_PATTERN, pretokenize
from course_lib.tokenization.special import encode_with_special
from course_lib.tokenization.tokenizer_json import read_tokenizer_json, save_tokenizer_json


@dataclass(frozen=True)
class Tokenizer:
    """Vocabulary, merges in the order they were learned, pre-token pattern, special strings and their ids.

    `vocab` maps ids to bytes and holds the 256 single bytes; a merge makes the token whose bytes are the two
    sides' bytes joined. Ids may be numbered in any way (GPT-2's files number the bytes differently than the
    trainers here). `whole_pieces` takes a pre-token that is a token as it stands without looking at the merges,
    which matters only for vocabularies that merges alone did not make. ValueError if the parts do not fit.

    >>> tokenizer = Tokenizer.train("low lower lowest", 260, special=["<|end|>"])
    >>> tokenizer.encode("lower<|end|>", allowed="all")
    [257, 101, 114, 259]
    >>> tokenizer.decode([257, 101, 114, 259])
    'lower<|end|>'
    """

    vocab: Vocab
    merges: list[Pair]
    pattern: str = GPT2_PATTERN
    special: dict[str, int] = field(default_factory=dict)
    whole_pieces: bool = False
    _encoder: PieceEncoder = field(init=False, repr=False, compare=False)
    _bytes_of: dict[int, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_special(self.special, self.vocab)
        pretokenize("", self.pattern)  # an invalid pattern fails here, not at the first text
        object.__setattr__(self, "_encoder", PieceEncoder(self.vocab, self.merges, self.whole_pieces))
        names = {i: encode_utf8("special", name) for name, i in self.special.items()}
        object.__setattr__(self, "_bytes_of", {**self.vocab, **names})

    def encode_ordinary(self, text: str) -> list[int]:
        """Encode `text`; special strings in it are ordinary text. ValueError for a lone surrogate.

        >>> Tokenizer.train("low lower lowest", 259).encode_ordinary("low")
        [257]
        """
        pieces = pretokenize(text, self.pattern)
        try:
            return list(chain.from_iterable(map(self._encoder.__getitem__, pieces)))  # no Python loop for known pieces
        except UnicodeEncodeError:
            encode_utf8("text", text)  # says where
            raise

    def encode(self, text: str, allowed: Collection[str] | Literal["all"] = ()) -> list[int]:
        """Encode `text`, with the special strings in `allowed` (or all of them) as their ids.

        ValueError for a lone surrogate or an allowed string that is not special.
        """
        if isinstance(allowed, str) and allowed == "all":
            allowed = self.special
        return (
            encode_with_special(text, self.encode_ordinary, self.special, allowed)
            if allowed
            else self.encode_ordinary(text)
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Join the bytes of the tokens and read them as UTF-8, U+FFFD for what is none; specials as their text.

        ValueError for an unknown id.
        """
        try:
            return b"".join([self._bytes_of[i] for i in ids]).decode("utf-8", errors="replace")
        except KeyError as error:
            raise ValueError(
                f"ids: expected ids of this tokenizer ({len(self)} tokens), got {error.args[0]!r}"
            ) from None

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of one token; they need not be valid UTF-8. ValueError for an unknown id."""
        try:
            return self._bytes_of[token_id]
        except KeyError:
            raise ValueError(
                f"token_id: expected an id of this tokenizer ({len(self)} tokens), got {token_id!r}"
            ) from None

    def __len__(self) -> int:
        """Return the number of tokens, special ones included."""
        return len(self._bytes_of)

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        pattern: str = GPT2_PATTERN,
        special: Sequence[str] = (),
        progress: bool = False,
    ) -> "Tokenizer":
        """Train on a text or an iterable of documents; special tokens count in `vocab_size` and come last.

        Training may stop early (see `train_byte_bpe`); the special ids follow the last merge in any case.
        ValueError for vocab_size < 256 + len(special) or a special string given twice.
        """
        if isinstance(special, str) or len(set(special)) < len(special):
            raise ValueError(f"special: expected a sequence of different strings, got {special!r}")
        require_int("vocab_size", vocab_size, 256 + len(special))
        vocab, merges = train_byte_bpe_fast(text, vocab_size - len(special), pattern, progress)
        return cls(vocab, merges, pattern, {name: len(vocab) + k for k, name in enumerate(special)})

    def save(self, path: str | Path) -> None:
        """Write a Hugging Face `tokenizer.json`; see `save_tokenizer_json`."""
        save_tokenizer_json(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a Hugging Face `tokenizer.json`; see `load_tokenizer_json`."""
        return cls(*read_tokenizer_json(path))


def load_tokenizer_json(path: str | Path) -> Tokenizer:
    """Read a byte-level BPE tokenizer from a `tokenizer.json`; ValueError as in `read_tokenizer_json`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "tokenizer.json"
    >>> tokenizer = Tokenizer.train("low lower lowest", 260, special=["<|end|>"])
    >>> tokenizer.save(path)
    >>> load_tokenizer_json(path) == tokenizer
    True
    """
    return Tokenizer.load(path)


def _check_special(special: Mapping[str, int], vocab: Mapping[int, bytes]) -> None:
    if "" in special:
        raise ValueError("special: expected non-empty strings, got ''")
    if len(set(special.values())) < len(special) or not vocab.keys().isdisjoint(special.values()):
        raise ValueError(f"special: expected ids of their own, outside the vocabulary, got {dict(special)}")
