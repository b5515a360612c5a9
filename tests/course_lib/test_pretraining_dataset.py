"""Documents as streams, splits without leakage, and the cache of tokens."""

import io
import json
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from course_lib import corpus as python_text
from course_lib.pretraining import dataset, documents
from course_lib.pretraining.dataset import prepare_tokens, split_of, tokenizer_hash
from course_lib.pretraining.documents import cut, huggingface_corpus, open_corpus, python_corpus, text_corpus
from course_lib.tokenization import Tokenizer

END = "<|endoftext|>"
TOKENIZER = Tokenizer.train("the cat and the hat and the bat", 262, special=[END])
STORIES = "".join(f"Story {i} of the cat.\n\nIt ends, {i}.\n{END}\n" for i in range(60))


@pytest.fixture
def stories(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text(STORIES, encoding="utf-8")
    return path


@pytest.fixture
def small_python(monkeypatch):
    """A Python of a few documents, so that no test depends on the real texts."""
    parts = {
        "reference": [("assert", "Assertions.\n\nOf the reference."), ("lists", "Lists.")],
        "docstrings": [("a.py", "Same words."), ("b.py", "Same  words."), ("b.py", "Half \ud800 a pair.")],
        "source": [("a.py", '"""Same words."""\nx = 1\n'), ("b.py", "y = 2\n"), ("c.py", "  \n")],
    }
    monkeypatch.setattr(python_text, "python_documents", lambda part: iter(parts[part]))
    return parts


# Documents


def test_python_documents_in_order_without_duplicates(small_python):
    found = list(python_corpus())
    assert [(d.source, d.text) for d in found] == [
        ("reference: assert", "Assertions.\n\nOf the reference."),
        ("reference: lists", "Lists."),
        ("docstrings: a.py", "Same words."),
        ("docstrings: b.py", "Half ? a pair."),
        ("source: a.py", '"""Same words."""\nx = 1'),
        ("source: b.py", "y = 2"),
    ]
    assert {d.licence for d in found} == {"PSF-2.0"} and all(d.ends for d in found)
    groups = {d.source: d.group for d in found}
    assert groups["docstrings: b.py"] == groups["source: b.py"] != groups["source: a.py"]
    assert list(python_corpus()) == found
    assert [d.source for d in python_corpus(["source"])] == ["source: a.py", "source: b.py"]
    for wrong in ([], ["sources"]):
        with pytest.raises(ValueError, match="parts"):
            python_corpus(wrong)


def test_python_fingerprint_follows_the_text(small_python):
    before = python_corpus().fingerprint
    assert python_corpus().fingerprint == before != python_corpus(["source"]).fingerprint
    small_python["source"][1] = ("b.py", "y = 3\n")
    assert python_corpus().fingerprint != before


def test_the_real_python_has_documents():
    first = next(iter(python_corpus(["source"])))
    assert first.text and first.source.startswith("source: ") and first.source.endswith(".py")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 1000])
@pytest.mark.parametrize(
    "text", ["", "\n\n", "a", "a\nb\n", "ab\n\n\ncd\n---\n\n---\nef---\n\n--- \ngh", "---\n---", "x" * 50]
)
def test_pieces_are_the_documents(text, size):
    """Whatever the size of the pieces, joined they are what splitting the whole text at once gives."""
    whole, current = [], []
    for line in text.split("\n"):
        if line.strip() == "---":
            whole.append("\n".join(current))
            current = []
        else:
            current.append(line)
    whole = [kept for doc in [*whole, "\n".join(current)] if (kept := doc.strip("\n")).strip()]
    # A separator can be told from text only where it fits into a piece.
    pieces = list(cut(io.StringIO(text), "---", max(size, 5)))
    assert all(len(piece) <= max(size, 5) for piece, _ in pieces)
    joined = "".join(piece + ("\0" if ends else "") for piece, ends in pieces)
    assert joined == "".join(doc + "\0" for doc in whole)


def test_text_file_with_separator(stories):
    found = list(text_corpus(stories))
    assert [d.text for d in found] == [f"Story {i} of the cat.\n\nIt ends, {i}." for i in range(60)]
    assert [d.source for d in found][:2] == ["stories.txt#0", "stories.txt#1"]
    assert len(list(text_corpus(stories, separator=None))) == 1
    assert sum(d.text.startswith("It ends") for d in text_corpus(stories, separator="")) == 60


def test_folder_in_sorted_order_with_json_lines(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.md").write_text("in b", encoding="utf-8")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfin a\r\nwith Windows line ends\r\n")
    (tmp_path / "z.bin").write_bytes(b"\xff\xff")
    rows = [{"text": "one\n\ntwo", "licence": "CC0-1.0"}, {"text": "three"}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    found = [(d.text, d.source, d.licence) for d in text_corpus(tmp_path, licence="mine")]
    assert found == [
        ("in a\nwith Windows line ends", "a.txt#0", "mine"),
        ("one\n\ntwo", "c.jsonl#1", "CC0-1.0"),
        ("three", "c.jsonl#2", "mine"),
        ("in b", "sub/b.md#0", "mine"),
    ]
    before = text_corpus(tmp_path).fingerprint
    (tmp_path / "sub" / "b.md").write_text("in B", encoding="utf-8")
    assert text_corpus(tmp_path).fingerprint != before


def test_unreadable_text(tmp_path):
    with pytest.raises(ValueError, match="path: expected"):
        text_corpus(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"UTF-8.*a\.txt"):
        list(text_corpus(tmp_path))
    for line in ("{", "[]", '{"txt": "x"}', '{"text": 3}'):
        (tmp_path / "b.jsonl").write_text(line)
        with pytest.raises(ValueError, match=r"line 1 of b\.jsonl"):
            list(text_corpus(tmp_path / "b.jsonl"))


def test_long_documents_stay_in_one_group(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "cut", lambda lines, separator=None: cut(lines, separator, 40))
    (tmp_path / "a.txt").write_text("".join(f"line {i} is here\n" for i in range(20)) + f"{END}\nshort\n")
    found = list(text_corpus(tmp_path))
    assert len(found) > 5 and [d.ends for d in found] == [False] * (len(found) - 2) + [True, True]
    assert len({d.group for d in found}) == 2


# Data sets by name


class FakeHub:
    """Stands for the package `datasets`: streams rows, or fails the way it fails without a network."""

    def __init__(self, rows=(), error=None):
        self.rows, self.error, self.calls = rows, error, []

    def load_dataset(self, name, config, **options):
        self.calls.append((name, config, options))
        if self.error:
            raise self.error
        return iter(self.rows)


def test_data_set_is_streamed(monkeypatch):
    def endless():
        while True:
            yield {"text": "row"}

    hub = FakeHub(endless())
    monkeypatch.setitem(sys.modules, "datasets", hub)
    found = list(huggingface_corpus("owner/name", max_documents=3))
    assert [(d.text, d.source, d.licence) for d in found] == [("row", f"owner/name#{i}", "unknown") for i in range(3)]
    assert hub.calls == [("owner/name", None, {"split": "train", "revision": None, "streaming": True})]
    monkeypatch.setitem(sys.modules, "datasets", FakeHub([{"content": "x"}]))
    with pytest.raises(ValueError, match=r"column: expected .*'text'.*content"):
        list(huggingface_corpus("owner/name"))


@pytest.mark.parametrize("error", [ConnectionError("cannot reach\nmore"), FileNotFoundError("no such"), TimeoutError()])
def test_without_a_network_one_clear_line(monkeypatch, error):
    monkeypatch.setitem(sys.modules, "datasets", FakeHub(error=error))
    with pytest.raises(ValueError, match=r"^name: expected a data set that can be reached, got 'owner/name'") as caught:
        open_corpus("owner/name")
    assert "\n" not in str(caught.value)


def test_without_the_package_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install datasets") as caught:
        open_corpus("owner/name")
    assert "\n" not in str(caught.value)


def test_open_corpus_tells_them_apart(stories, small_python):
    assert open_corpus("python").name.startswith("python")
    assert open_corpus(stories).name == open_corpus(str(stories)).name == str(stories)


# Splits


def test_splits_are_stable_and_have_the_right_size():
    groups = [f"group {i}" for i in range(20_000)]
    first = [split_of(g, 0.1, seed=1) for g in groups]
    # 5 sigma of a binomial with n = 20,000 and p = 0.1 are 212
    assert abs(first.count("val") - 2000) < 212
    assert {split_of(g, 0.0) for g in groups[:500]} == {"train"} and {split_of(g, 1.0) for g in groups[:500]} == {"val"}
    # A larger fraction only adds to the validation set, and another seed draws another one.
    assert all(split_of(g, 0.2, seed=1) == "val" for g, s in zip(groups, first, strict=True) if s == "val")
    both = sum(a == "val" == split_of(g, 0.1, seed=2) for g, a in zip(groups, first, strict=True))
    assert abs(both - 200) < 5 * 200**0.5
    program = (
        "from course_lib.pretraining.dataset import split_of; print([split_of(f'group {i}', .1, 1) for i in range(99)])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == str(first[:99])  # unlike hash(), which every process salts anew
    with pytest.raises(ValueError, match="val_fraction"):
        split_of("x", 1.5)


def test_no_document_is_on_both_sides(tmp_path, stories):
    stories.write_text(STORIES + STORIES, encoding="utf-8")  # each is there twice: copies must not be torn apart
    tokens = prepare_tokens(text_corpus(stories), TOKENIZER, val_fraction=0.3, cache=tmp_path / "c", progress=False)
    end = TOKENIZER.special[END]

    def stories_of(ids):
        ends = np.flatnonzero(ids == end)
        return [TOKENIZER.decode(part[:-1].tolist()) for part in np.split(ids, ends + 1) if len(part)]

    train, val = stories_of(tokens.train), stories_of(tokens.val)
    assert train and val and set(train).isdisjoint(val)
    assert sorted(train + val) == sorted(2 * [f"Story {i} of the cat.\n\nIt ends, {i}." for i in range(60)])
    assert tokens.documents == {"train": len(train), "val": len(val)}
    assert tokens.bytes == {"train": len("".join(train)), "val": len("".join(val))}


# Tokens and their cache


def test_special_strings_in_documents_are_text(tmp_path):
    (tmp_path / "a.txt").write_text(f"say {END} aloud")
    ids = prepare_tokens(text_corpus(tmp_path), TOKENIZER, val_fraction=0, cache=tmp_path / "c", progress=False).train
    end = TOKENIZER.special[END]
    assert (ids == end).sum() == 1 and ids[-1] == end and ids.dtype == np.uint16
    assert TOKENIZER.decode(ids[:-1].tolist()) == f"say {END} aloud"
    with pytest.raises(ValueError, match="eos"):
        prepare_tokens(text_corpus(tmp_path), TOKENIZER, eos="<s>", cache=tmp_path / "c")


def test_large_ids_get_wider_tokens(tmp_path, stories):
    wide = Tokenizer(TOKENIZER.vocab, TOKENIZER.merges, special={END: 70_000})
    tokens = prepare_tokens(text_corpus(stories), wide, cache=tmp_path / "c", progress=False)
    assert tokens.train.dtype == np.uint32 and tokens.train.max() == 70_000


def test_second_call_reads_the_cache(tmp_path, stories, monkeypatch):
    def prepare(tokenizer=TOKENIZER, **options):
        return prepare_tokens(text_corpus(stories), tokenizer, cache=tmp_path / "c", progress=False, **options)

    first = prepare()
    assert isinstance(first.train, np.memmap) and not first.train.flags.writeable
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "_write", lambda *args: pytest.fail("tokenized again"))
        again = prepare()
    assert again.train.tolist() == first.train.tolist() and again[2:] == first[2:]
    other = Tokenizer.train("the cat and the hat and the bat", 263, special=[END])
    folders = {prepare(**options).folder for options in ({}, {"seed": 1}, {"eos": None}, {"val_fraction": 0.2})}
    stories.write_text(STORIES.replace("cat", "cow"), encoding="utf-8")
    folders |= {prepare().folder, prepare(other).folder}
    assert len(folders) == 6
    assert tokenizer_hash(TOKENIZER) != tokenizer_hash(Tokenizer(TOKENIZER.vocab, TOKENIZER.merges))


@pytest.mark.parametrize("damage", ["short", "meta", "gone"])
def test_damaged_cache_is_written_again(tmp_path, stories, damage):
    def prepare():
        return prepare_tokens(text_corpus(stories), TOKENIZER, cache=tmp_path / "c", progress=False)

    first = prepare()
    want = first.train.tolist()
    if damage == "short":
        (first.folder / "train.bin").write_bytes(b"\0\0")
    elif damage == "meta":
        (first.folder / "meta.json").write_text("{")
    else:
        (first.folder / "val.bin").unlink()
    assert prepare().train.tolist() == want
    assert [path.name for path in (tmp_path / "c").iterdir()] == [first.folder.name]


def test_nothing_half_done_is_left(tmp_path, stories):
    class Failing:
        special, vocab, merges, pattern, whole_pieces = {END: 261}, {0: b"a"}, [], "", False
        calls = 0

        def encode_ordinary(self, text):
            self.calls += 1
            if self.calls > 5:
                raise KeyboardInterrupt
            return [0]

    with pytest.raises(KeyboardInterrupt):
        prepare_tokens(text_corpus(stories), Failing(), cache=tmp_path / "c", progress=False)
    assert list((tmp_path / "c").iterdir()) == []


def test_when_another_process_is_faster_its_tokens_stay(tmp_path, stories, monkeypatch):
    write = dataset._write

    def write_while_another_finishes(*args):
        write(*args)
        monkeypatch.setattr(dataset, "_write", write)
        prepare_tokens(text_corpus(stories), TOKENIZER, cache=tmp_path / "c", progress=False)

    monkeypatch.setattr(dataset, "_write", write_while_another_finishes)
    tokens = prepare_tokens(text_corpus(stories), TOKENIZER, cache=tmp_path / "c", progress=False)
    assert len(tokens.train) and len(list((tmp_path / "c").iterdir())) == 1


def test_a_split_without_documents_is_reported(tmp_path):
    (tmp_path / "a.txt").write_text("one document\n\nwith two paragraphs")
    with pytest.raises(ValueError, match=r"none for (train|val) out of 1"):
        prepare_tokens(text_corpus(tmp_path), TOKENIZER, val_fraction=0.5, cache=tmp_path / "c", progress=False)
    assert len(prepare_tokens(text_corpus(tmp_path), TOKENIZER, val_fraction=0, cache=tmp_path / "c").val) == 0


def test_default_cache_is_the_users(tmp_path, stories, monkeypatch):
    monkeypatch.setattr(dataset.platformdirs, "user_cache_path", lambda name, appauthor: tmp_path / name)
    tokens = prepare_tokens(text_corpus(stories), TOKENIZER, progress=False)
    assert tokens.folder.parent == tmp_path / "tokens-to-thought" / "tokens"


def test_progress_counts_bytes(tmp_path, stories, capsys):
    prepare_tokens(text_corpus(stories), TOKENIZER, cache=tmp_path / "c")
    assert "tokenizing" in capsys.readouterr().err


def peak_bytes(path, cache, read_first=False):
    tokenizer = SimpleNamespace(  # bytes as ids: a quick tokenizer, for what matters here is what is held
        vocab={255: b"\xff"}, merges=[], pattern="", special={END: 256}, whole_pieces=False,
        encode_ordinary=lambda text: list(text.encode()),
    )  # fmt: skip
    tracemalloc.start()
    try:
        if read_first:
            held = list(text_corpus(path, separator=None))
            assert held
        prepare_tokens(text_corpus(path, separator=None), tokenizer, val_fraction=0, cache=cache, progress=False)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(tmp_path):
    """16 MB of one document take no more than 2 MB do; holding the documents does, and the test would see it."""
    line = "the cat sat on the mat and saw the bat " * 100 + "\n"
    for name, size in (("small", 2), ("large", 16)):
        (tmp_path / f"{name}.txt").write_text(line * (size * 2**20 // len(line)))
    small, large = (peak_bytes(tmp_path / f"{name}.txt", tmp_path / name) for name in ("small", "large"))
    assert large < small + 2**20
    assert peak_bytes(tmp_path / "large.txt", tmp_path / "other", read_first=True) > small + 8 * 2**20
