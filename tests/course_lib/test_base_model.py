"""The models that come with the course: they load, they predict, and their cards are complete."""

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib.attention import count_params
from course_lib.models import FOLDER, base_model, model_names
from course_lib.pretraining.evaluate import bits_per_byte, continue_text
from course_lib.pretraining.export import END
from course_lib.pretraining.train_log import read_log

# Written for this test, in the manner of what the models were trained on.
PROSE = """The statement executes its body once for each item that the iterator returns. If the body ends with an
exception, the exception is raised again after the file has been closed. The default value is None, which means
that the function returns a new list of all keys in the dictionary. This method may be called more than once.
"""
CODE = '''def read_names(path, encoding="utf-8"):
    """Return the names in a file, one on each line."""
    with open(path, encoding=encoding) as file:
        names = [line.strip() for line in file]
    if not names:
        raise ValueError("no names in %r" % path)
    return sorted(set(names))
'''


@pytest.fixture(scope="module", params=["base", "draft"])
def loaded(request):
    return request.param, *base_model(request.param)


def test_it_loads_ready_for_use(loaded):
    name, model, tokenizer = loaded
    assert not model.training and len(tokenizer) == model.cfg.vocab_size and END in tokenizer.special
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    logits = model(torch.tensor([tokenizer.encode(CODE)]))
    assert torch.isfinite(logits).all() and logits.std() > 1
    assert (FOLDER / name / "model.safetensors").stat().st_size <= 16e6
    assert (FOLDER / name / "log.jsonl").stat().st_size <= 100_000


def test_it_beats_uniform_and_unigram_by_far(loaded):
    _, model, tokenizer = loaded
    for text in (PROSE, CODE):
        size, ids = len(text.encode()), tokenizer.encode(text)
        counts = Counter(ids)  # the best unigram model there can be: that of the text itself
        unigram = -sum(n * math.log2(n / len(ids)) for n in counts.values()) / size
        uniform = len(ids) * math.log2(len(tokenizer)) / size
        bits = bits_per_byte(model, tokenizer, text)
        assert bits < 0.95 * unigram and bits < 0.7 * uniform, (bits, unigram, uniform)
    shuffled = "".join(sorted(PROSE))
    assert bits_per_byte(model, tokenizer, shuffled) > 1.5 * bits_per_byte(model, tokenizer, PROSE)


def test_the_base_is_better_than_the_draft_which_is_a_tenth_of_it_with_the_same_tokens():
    (base, tokens), (draft, others) = base_model("base"), base_model("draft")
    assert tokens == others
    ratio = count_params(draft.cfg)["total"] / count_params(base.cfg)["total"]
    assert 0.05 < ratio < 0.15
    for text in (PROSE, CODE):
        assert bits_per_byte(base, tokens, text) < bits_per_byte(draft, tokens, text)


def test_what_it_writes_looks_like_python():
    model, tokenizer = base_model()
    for prompt, follows in (("for i in range(", ")"), ("    def __init__(", "self"), ("    raise ", "Error")):
        text = continue_text(model, tokenizer, prompt, tokens=20, temperature=0)
        assert text.startswith(prompt) and follows in text[len(prompt) :], text


def test_a_changed_model_changes_no_other_and_dtypes_are_as_asked():
    one, _ = base_model("draft")
    with torch.no_grad():
        one.token_embedding.weight.zero_()
    two, _ = base_model("draft", dtype=torch.bfloat16)
    assert two.token_embedding.weight.abs().max() > 0 and two.token_embedding.weight.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="name: expected base or draft, got 'large'"):
        base_model("large")
    assert course_lib.base_model is base_model and model_names() == ["base", "draft"]


def test_importing_the_package_does_not_import_torch():
    code = "import sys, course_lib; print('torch' in sys.modules, callable(course_lib.base_model))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_card_says_what_was_done_and_measured(loaded):
    name, model, _ = loaded
    folder = FOLDER / name
    card = (folder / "README.md").read_text(encoding="utf-8")
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    measured = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert run["parameters"] == count_params(model.cfg)["total"] and run["corpus"] == measured["corpus"]
    for said in ("python -m course_lib.pretraining --depth", run["corpus"], f"{run['parameters']:,}", "PSF-2.0"):
        assert said in card
    bits = measured["bits_per_byte"]
    for part in ("reference", "docstrings", "source"):
        assert f"{bits['model'][part]:.2f}" in card
        assert bits["model"][part] < min(bits["gzip"][part], bits["unigram"][part])
    if name == "base":
        assert all(bits["model"][p] < bits["Kneser-Ney 4-gram"][p] for p in ("reference", "docstrings", "source"))
    log = read_log(folder / "log.jsonl")
    assert max(record["step"] for record in log) == run["steps"] and log[-1]["val_loss"] < 4
    assert all(f"```text\n{sample.rstrip()[:20]}" in card for sample in measured["samples"])


def test_transformers_gives_the_same_logits_and_ids(loaded):
    transformers = pytest.importorskip("transformers")
    name, model, tokenizer = loaded
    folder = Path(FOLDER, name)
    theirs = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    for text in (PROSE, CODE):
        ids = tokenizer.encode(text)
        assert fast(text)["input_ids"] == ids and fast.decode(ids, clean_up_tokenization_spaces=False) == text
        with torch.no_grad():
            mine, other = model(torch.tensor([ids])), theirs(torch.tensor([ids])).logits
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-4)


def test_transformers_tokenizes_the_corpus_as_we_do(loaded):
    transformers = pytest.importorskip("transformers")
    from course_lib.corpus import python_documents

    name, _, tokenizer = loaded
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(Path(FOLDER, name) / "tokenizer.json"))
    for part in ("reference", "source"):
        texts = [text for _, text in python_documents(part) if END not in text][:40]
        for text, ids in zip(texts, fast(texts)["input_ids"], strict=True):
            assert tokenizer.encode_ordinary(text) == ids
