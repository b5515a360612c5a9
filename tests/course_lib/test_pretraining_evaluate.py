"""Bits per byte against oracles, and a model card made from a run."""

import gzip
import json
import math
import random

import pytest
import torch

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import card as module
from course_lib.pretraining.card import command_of, main, publish
from course_lib.pretraining.command import pretrain
from course_lib.pretraining.documents import text_corpus
from course_lib.pretraining.evaluate import (
    bits_per_byte,
    continue_text,
    ngram_bits_per_byte,
    overlapping_windows,
    primed_xz_bits_per_byte,
    split_texts,
    zip_bits_per_byte,
)
from course_lib.pretraining.export import END
from course_lib.pretraining.train_log import read_log
from course_lib.tokenization import Tokenizer

TEXTS = ["the cat sat on the mat, über alles", "and then it ran\n\naway", "x"]


@pytest.fixture
def tokenizer():
    return Tokenizer.train(" ".join(TEXTS) * 3, 280, special=[END])


def random_model(vocab: int, context: int) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig.llama(vocab_size=vocab, context_length=context, n_layers=1, n_heads=2, d_model=8, d_ff=None))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    return model.train()


def test_bits_are_those_of_the_tokens_one_by_one(tokenizer):
    model = random_model(len(tokenizer), 500)  # one window holds everything
    end, row = tokenizer.special[END], []
    nats = 0.0
    for text in TEXTS:
        row.append(end)
        for token in tokenizer.encode(text):
            nats -= torch.log_softmax(model(torch.tensor([row]))[0, -1].double(), 0)[token].item()
            row.append(token)
    expected = nats / math.log(2) / sum(len(text.encode()) for text in TEXTS)
    assert bits_per_byte(model, tokenizer, TEXTS) == pytest.approx(expected, rel=1e-4)
    assert model.training
    one = bits_per_byte(model, tokenizer, TEXTS[0])
    assert one != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("T", [2, 3, 8])
def test_windows_that_overlap_predict_every_token_once_from_half_a_window(T):
    for n in (2, 5, 9, 40, 41, 200):
        ids = torch.arange(100, 100 + n)
        seen = []
        for inputs, targets in overlapping_windows(ids, T):
            assert inputs.shape == targets.shape and inputs.shape[1] == T
            for row, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
                for i, target in enumerate(wanted):
                    if target != -100:
                        before = min(T // 2, target - 100)
                        assert row[i + 1 - before : i + 1] == list(range(target - before, target))
                        seen.append(target)
        assert seen == list(range(101, 100 + n))


def test_counted_and_zipped(tokenizer):
    train = ["abcabcabd" * 20, "bcd" * 10]
    byte = Tokenizer.train("", 257, special=[END])
    # A unigram model by hand: Kneser-Ney of order 1 takes a discount off each count and spreads it over all tokens.
    bits = ngram_bits_per_byte(byte, train, {"a": ["abc"], "b": ["zzz"]}, 1)
    counts = {c: "".join(train).count(c) for c in "abcd"} | {"end": 2}
    ones, twos = (sum(n == k for n in counts.values()) for k in (1, 2))
    discount = ones / (ones + 2 * twos) if ones else 0.75
    total = sum(counts.values())
    p = {c: (counts.get(c, 0) - (discount if c in counts else 0) + discount * 5 / 257) / total for c in "abcz"}
    assert bits["a"] == pytest.approx(-sum(math.log2(p[c]) for c in "abc") / 3)
    assert bits["b"] == pytest.approx(-math.log2(p["z"]))
    assert ngram_bits_per_byte(byte, train, {"a": ["abcabcabd"]}, 3)["a"] < 1
    assert zip_bits_per_byte(["ab", "cd"])["gzip"] == 8 * len(gzip.compress(b"abcd", 9)) / 4
    noise = "".join(random.Random(0).choices("abcdefgh", k=4000))
    alone, primed = zip_bits_per_byte([noise])["xz"], primed_xz_bits_per_byte([noise + "!" * 99], [noise])
    assert alone > 2.9 and primed < 0.5  # three bits a letter; and next to nothing for what has been seen


def test_errors(tokenizer):
    model = random_model(len(tokenizer), 8)
    with pytest.raises(ValueError, match="texts: expected some text, got none"):
        bits_per_byte(model, tokenizer, [""])
    with pytest.raises(ValueError, match="tokenizer: expected the special token"):
        bits_per_byte(model, Tokenizer.train("", 256), "text")
    with pytest.raises(ValueError, match="temperature: expected a non-negative number"):
        continue_text(model, tokenizer, "x", temperature=-1)


def test_continuations(tokenizer):
    model = random_model(len(tokenizer), 8)
    greedy = continue_text(model, tokenizer, "the", tokens=12, temperature=0)
    ids = [tokenizer.special[END], *tokenizer.encode("the")]
    for _ in range(12):
        new = int(model(torch.tensor([ids[-8:]]))[0, -1].argmax())
        if new == tokenizer.special[END]:
            break
        ids.append(new)
    assert greedy == tokenizer.decode(ids[1:])
    drawn = {continue_text(model, tokenizer, "the", temperature=2, seed=seed) for seed in (1, 1, 2)}
    assert len(drawn) == 2 and all(text.startswith("the") for text in drawn)
    with torch.no_grad():  # a model that always ends
        model.final_norm.weight.zero_()
    cfg = model.cfg
    sure = GPT(cfg)
    sure.forward = lambda ids: (
        torch.nn.functional.one_hot(torch.full_like(ids, len(tokenizer) - 1), cfg.vocab_size) * 99.0
    )
    assert continue_text(sure, tokenizer, "the") == "the"


def test_split_texts_joins_the_pieces_of_a_document(tmp_path):
    path = tmp_path / "text.txt"
    documents = [f"document {i}\n" + "line\n" * (60_000 if i == 3 else 2) for i in range(30)]
    path.write_text(f"{END}\n".join(documents))
    texts = split_texts(text_corpus(path), 0.3)
    found = texts["train"]["text"] + texts["val"]["text"]
    assert sorted(found) == sorted(document.rstrip("\n") for document in documents) and len(texts["val"]["text"]) > 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    words = random.Random(0)
    text = [" ".join(words.choices(["red", "green", "blue", "sky", "sea"], k=30)) for _ in range(60)]
    (folder / "text.txt").write_text(f"\n{END}\n".join(text))
    sizes = {"depth": 1, "width": 16, "heads": 1, "vocab": 270, "context": 16, "batch": 4, "tokens": 64 * 30}
    more = {"dataset": folder / "text.txt", "cache": folder / "cache", "progress": False, "device": "cpu"}
    return pretrain(folder / "run", **sizes, **more)


def test_a_card_from_a_run(run, tmp_path):
    measured = publish(run, tmp_path / "one", "an abacus", about="by hand", notes=["beads were lost"])
    card = (tmp_path / "one" / "README.md").read_text()
    for said in ("# The model `one`", "an abacus", "(by hand)", "- beads were lost", "30 updates, 1,920 tokens"):
        assert said in card
    assert "--width 16" in card and "--tokens 1920" in card and "--heads" not in card
    row = measured["bits_per_byte"]["model"]
    assert f"| **this model** | {row['text']:.2f} |" in card
    assert json.loads((tmp_path / "one" / "evaluation.json").read_text()) == measured
    files = ("model.safetensors", "config.json", "tokenizer.json", "run.json")
    assert all((tmp_path / "one" / name).read_bytes() == (run / name).read_bytes() for name in files)
    assert len(read_log(tmp_path / "one" / "log.jsonl")) == len(read_log(run / "log.jsonl"))


def test_comparisons_are_taken_from_a_model_of_the_same_kind_only(run, tmp_path, monkeypatch, capsys):
    measured = publish(run, tmp_path / "one", "an abacus")
    monkeypatch.setattr(module, "baselines", None)  # not needed again
    assert publish(run, tmp_path / "two", "an abacus", like=tmp_path / "one") == measured
    other = json.loads((tmp_path / "one" / "evaluation.json").read_text()) | {"tokenizer": "another"}
    (tmp_path / "one" / "evaluation.json").write_text(json.dumps(other))
    with pytest.raises(SystemExit) as end:
        main([str(run), "--to", str(tmp_path / "three"), "--hardware", "x", "--like", str(tmp_path / "one")])
    assert end.value.code == 2 and "like: expected a model with the text and tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "three").exists()


def test_only_finished_runs_on_this_text_are_published(run, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    settings = json.loads((run / "run.json").read_text())
    for change, message in (
        ({"steps": 31}, "run: expected a finished run of 31"),
        ({"corpus": "x"}, "trained on another"),
    ):
        (copy / "run.json").write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match=message):
            publish(copy, tmp_path / "to", "an abacus")


def test_the_command_holds_what_the_depth_does_not_say():
    settings = {"depth": 2, "width": 96, "heads": 3, "kv_heads": 1, "mlp_width": 256, "context": 256, "batch": 8}
    said = command_of(settings | {"precision": "bf16", "seed": 3, "lr": 0.008, "vocab": 1024})
    expected = "--depth 2 --width 96 --heads 3 --context 256 --batch 8 --seed 3 --precision bf16 --out FOLDER"
    assert said == f"python -m course_lib.pretraining {expected}"
