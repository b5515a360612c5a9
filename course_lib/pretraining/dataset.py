"""From documents to tokens on disk: split without leakage, encoded once, and mapped into memory ever after."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import platformdirs
from tqdm import tqdm

from course_lib.pretraining._arguments import require_fraction
from course_lib.pretraining.documents import Corpus
from course_lib.tokenization import Tokenizer

SPLITS = ("train", "val")


class TokenSet(NamedTuple):
    """Token ids for training and validation, how many documents and UTF-8 bytes they stand for, and the folder."""

    train: np.ndarray
    val: np.ndarray
    documents: dict[str, int]
    bytes: dict[str, int]
    folder: Path


def prepare_tokens(
    corpus: Corpus,
    tokenizer: Tokenizer,
    eos: str | None = "<|endoftext|>",
    val_fraction: float = 0.1,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> TokenSet:
    """Encode a corpus once and return its tokens as memory maps; the second call finds them in the cache.

    Ids are uint16 (uint32 where the tokenizer has ids above 65,535), with the special token `eos` after each document
    (None: nothing). Special strings inside the documents are ordinary text. At no time is more than a piece of a
    document in memory. `cache` is a folder, by default in the user's cache folder; the files there are named by the
    content, the tokenizer and the settings, appear only when they are complete, and may be deleted at any time.
    ValueError for an `eos` that the tokenizer does not know and for a split that got no document.
    """
    require_fraction("val_fraction", val_fraction)
    if eos is not None and eos not in tokenizer.special:
        raise ValueError(f"eos: expected one of the tokenizer's special tokens {list(tokenizer.special)}, got {eos!r}")
    settings = (1, corpus.fingerprint, tokenizer_hash(tokenizer), eos, val_fraction, seed)
    key = hashlib.sha256(repr(settings).encode()).hexdigest()[:32]
    root = Path(cache) if cache is not None else cache_folder()
    folder = root / key
    if found := _open(folder):
        return found
    root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{key[:8]}-", dir=root))
    try:
        _write(partial, corpus, tokenizer, eos, val_fraction, seed, progress)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there only if something went wrong, or another was faster
    found = _open(folder)
    if found is None:
        raise OSError(f"the tokens just written to {folder} cannot be read back")
    return found


def split_of(group: str, val_fraction: float, seed: int = 0) -> str:
    """Return "train" or "val" by a hash of `group`: the same on every machine and whatever else is in the corpus.

    Drawing documents at random would move them between the splits whenever one is added; a cut by position would put
    the two halves of a document on two sides. ValueError for a fraction outside 0 to 1.

    >>> {split_of(f"document {i}", 0.5) for i in range(20)} == {"train", "val"}
    True
    """
    require_fraction("val_fraction", val_fraction)
    digest = hashlib.blake2b(f"{seed}\n{group}".encode("utf-8", errors="surrogatepass"), digest_size=8).digest()
    return "val" if int.from_bytes(digest) < val_fraction * 2**64 else "train"


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """Return a SHA-256 over all that decides about a tokenizer's ids.

    >>> a, b = Tokenizer.train("low lower", 257), Tokenizer.train("low lower", 258)
    >>> tokenizer_hash(a) == tokenizer_hash(Tokenizer.train("low lower", 257)) != tokenizer_hash(b)
    True
    """
    parts = (
        sorted(tokenizer.vocab.items()),
        [tuple(pair) for pair in tokenizer.merges],
        tokenizer.pattern,
        sorted(tokenizer.special.items()),
        tokenizer.whole_pieces,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cache_folder() -> Path:
    """Return the folder in which tokens are kept by default; it need not exist."""
    return platformdirs.user_cache_path("tokens-to-thought", appauthor=False) / "tokens"


def _write(
    folder: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    eos: str | None,
    val_fraction: float,
    seed: int,
    progress: bool,
) -> None:
    highest = max(*tokenizer.vocab, *tokenizer.special.values(), 0)
    dtype = np.dtype("<u2" if highest < 1 << 16 else "<u4")
    end = [] if eos is None else [tokenizer.special[eos]]
    tokens, documents, size = (dict.fromkeys(SPLITS, 0) for _ in range(3))
    with (
        (folder / "train.bin").open("wb") as train,
        (folder / "val.bin").open("wb") as val,
        tqdm(total=corpus.size, desc="tokenizing", unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        files = {"train": train, "val": val}
        for document in corpus:
            split = split_of(document.group, val_fraction, seed)
            ids = np.array(tokenizer.encode_ordinary(document.text) + (end if document.ends else []), dtype=dtype)
            files[split].write(ids.tobytes())
            encoded = len(document.text.encode())
            tokens[split] += len(ids)
            documents[split] += document.ends
            size[split] += encoded
            bar.update(encoded)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    for split, wanted in (("train", val_fraction < 1), ("val", val_fraction > 0)):
        if wanted and not documents[split]:
            raise ValueError(
                f"val_fraction: expected documents for both splits, got none for {split} out of "
                f"{sum(documents.values())} in {corpus.name}; a separator, as in text_corpus(path, separator=''), "
                "makes more documents of a file"
            )
    meta = {"dtype": dtype.str, "corpus": corpus.name, "tokens": tokens, "documents": documents, "bytes": size}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename the finished folder; whoever comes second keeps the first one's, if that can be read."""
    try:
        partial.rename(folder)
    except OSError:
        if _open(folder) is None:  # damaged: half deleted, or from a full disk
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)


def _open(folder: Path) -> TokenSet | None:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        maps = []
        for split in SPLITS:
            count, dtype, path = meta["tokens"][split], np.dtype(meta["dtype"]), folder / f"{split}.bin"
            if path.stat().st_size != count * dtype.itemsize:
                return None
            maps.append(np.memmap(path, dtype=dtype, mode="r", shape=(count,)) if count else np.empty(0, dtype))
        return TokenSet(*maps, meta["documents"], meta["bytes"], folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None
