"""The pretraining command: the dial, the run that survives a kill, its errors, and files that transformers reads."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from course_lib.attention import GPT, GPTConfig, count_params
from course_lib.pretraining import command
from course_lib.pretraining.cli import main, parser
from course_lib.pretraining.command import pretrain, spread_batches
from course_lib.pretraining.export import END, export_model, load_exported
from course_lib.pretraining.recipe import describe, recipe
from course_lib.pretraining.train_log import read_log
from course_lib.tokenization import Tokenizer

ROOT = Path(__file__).parents[2]
WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "ran",
    "off",
    "with",
    "what",
    "it",
    "found",
    "under",
    "old",
    "hat",
]
SMALL = {"depth": 1, "width": 16, "heads": 2, "vocab": 300, "context": 16, "batch": 4, "tokens": 12 * 64}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A file of sixty different documents."""
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    rng = np.random.default_rng(0)
    path.write_text("\n\n".join(" ".join(rng.choice(WORDS, 40)) for _ in range(60)).replace("\n\n", f"\n{END}\n"))
    return path


def small(text: Path, out: Path, **more) -> Path:
    settings = SMALL | {"dataset": text, "cache": text.parent / "cache", "progress": False, "device": "cpu"} | more
    return pretrain(out, **settings)


def arguments(text: Path, out: Path, *more: str) -> list[str]:
    sizes = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    return [*sizes, f"--dataset={text}", f"--out={out}", "--device=cpu", "--quiet", *more]


# The dial


def test_depth_decides_and_every_size_may_be_set():
    r = recipe(4)
    assert (r.width, r.heads, r.kv_heads, r.context, r.vocab) == (256, 4, 2, 256, 2048)
    assert r.tokens == 20 * count_params(r.gpt_config())["total"] and r.steps == round(r.tokens / 2048)
    for depth in range(1, 13):
        r = recipe(depth)
        assert r.heads % r.kv_heads == 0 and r.kv_heads <= max(1, r.heads / 2) and r.width == 64 * r.heads
        assert r.batch * r.context >= 1024 and r.lr * r.width == pytest.approx(0.768)
    for name, value in (("width", 96), ("kv_heads", 4), ("mlp_width", 100), ("lr", 0.1), ("tokens", 999)):
        assert getattr(recipe(4, **{name: value, "heads": 4}), name) == value
    assert recipe(4, width=None) == recipe(4)


def test_steps_stay_about_the_same_and_the_count_is_of_the_model_that_is_built():
    assert recipe(12).steps < 2 * recipe(4).steps and recipe(4).steps < 2 * recipe(12).steps
    r = recipe(2)
    built = GPT(r.gpt_config())
    inside = sum(p.numel() for name, p in built.named_parameters() if name != "token_embedding.weight")
    assert describe(r)["parameters"] == sum(p.numel() for p in built.parameters())
    assert describe(r)["parameters_without_embedding"] == inside


@pytest.mark.parametrize(
    ("depth", "chosen", "message"),
    [
        (0, {}, "depth: expected an integer >= 1, got 0"),
        (2, {"width": 0}, "width: expected an integer >= 1"),
        (2, {"lr": 0}, "lr: expected a positive number"),
        (2, {"lr": "high"}, "lr: expected a positive number"),
        (2, {"wdith": 64}, "chosen: expected some of .*, got 'wdith'"),
        (2, {"width": 100, "heads": 3}, "d_model: expected a multiple of n_heads = 3"),
        (2, {"heads": 4, "kv_heads": 3}, "n_kv_heads: expected a divisor"),
    ],
)
def test_a_recipe_that_cannot_be(depth, chosen, message):
    with pytest.raises(ValueError, match=message):
        recipe(depth, **chosen)


def test_the_schedule_warms_up_stays_and_ends_at_zero():
    cfg = recipe(1, tokens=1024 * 1000).train_config()
    rates = [cfg.rate(step) for step in range(1000)]
    assert rates[0] < rates[50] < rates[100] == rates[799] == 0.012 and rates[-1] == 0 and rates[900] < 0.012


# A run


def test_it_learns_and_leaves_a_folder_with_everything(text, tmp_path):
    out = small(text, tmp_path / "run", tokens=64 * 300, lr=0.02)
    names = {"model.safetensors", "config.json", "tokenizer.json", "log.jsonl", "run.json", "checkpoint.safetensors"}
    assert {path.name for path in out.iterdir()} == names
    log = read_log(out / "log.jsonl")
    losses = [record["loss"] for record in log if "loss" in record]
    assert len(losses) == 300 and losses[-1] < losses[0] - 2
    assert [record["step"] for record in log if "val_loss" in record][-1] == 300
    model, tokenizer = load_exported(out)
    settings = json.loads((out / "run.json").read_text())
    assert settings["vocab"] == len(tokenizer) == model.cfg.vocab_size and settings["steps"] == 300
    assert not model.training and json.loads((out / "config.json").read_text())["eos_token_id"] == len(tokenizer) - 1
    # The model in the files is the one that was measured last.
    val = command.prepare_tokens(
        command.open_dataset(text), tokenizer, END, 0.1, 0, text.parent / "cache", progress=False
    ).val
    total = count = 0
    for inputs, targets in spread_batches(val, command.EVALUATED_TOKENS, 4, 16):
        total += model(inputs, targets=targets).item() * targets.numel()
        count += targets.numel()
    assert total / count == pytest.approx([r["val_loss"] for r in log if "val_loss" in r][-1], abs=1e-5)


KILLED = """
import os, sys
from course_lib.pretraining import train_log
from course_lib.pretraining.cli import main
add = train_log.TrainLog.add
def add_and_die(self, record):
    add(self, record)
    if record["step"] == 8:
        os.kill(os.getpid(), 9)
train_log.TrainLog.add = add_and_die
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_and_started_again_it_ends_with_the_same_weights(text, tmp_path, monkeypatch):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    given = arguments(text, killed, "--checkpoint-every=3")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *given], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (killed / "model.safetensors").exists()
    module = [sys.executable, "-m", "course_lib.pretraining"]
    for command_line in (given, arguments(text, whole)):
        done = subprocess.run(
            [*module, *command_line], env=environment, capture_output=True, text=True, timeout=120, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    one, two = (load_file(out / "model.safetensors") for out in (killed, whole))
    assert all(torch.equal(one[name], two[name]) for name in two) and one.keys() == two.keys()
    losses = [[r["loss"] for r in read_log(out / "log.jsonl") if "loss" in r] for out in (killed, whole)]
    assert losses[0] == losses[1] and len(losses[0]) == 12
    assert (killed / "tokenizer.json").read_bytes() == (whole / "tokenizer.json").read_bytes()


def test_stopped_and_continued_is_the_same_run_and_a_finished_one_stays(text, tmp_path):
    small(text, tmp_path / "a", until=5)
    assert [r["step"] for r in read_log(tmp_path / "a" / "log.jsonl") if "loss" in r][-1] == 5
    small(text, tmp_path / "a")
    small(text, tmp_path / "b")
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in "ab")
    assert one == two
    small(text, tmp_path / "a")
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == two


def test_before_the_cool_down_the_length_may_change(text, tmp_path):
    small(text, tmp_path / "long", tokens=64 * 28, until=6)  # would cool down from step 22
    small(text, tmp_path / "long", tokens=64 * 20, until=6)
    with pytest.raises(ValueError, match="tokens: expected 1280"):
        small(text, tmp_path / "long", tokens=64 * 6)  # would have cooled down already
    small(text, tmp_path / "long", tokens=64 * 20)
    small(text, tmp_path / "short", tokens=64 * 20)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("long", "short"))
    assert one == two
    with pytest.raises(ValueError, match=r"tokens: expected 1280, as in the run in .*, got 1792"):
        small(text, tmp_path / "short", tokens=64 * 28)  # has cooled down


# Errors


def test_other_settings_need_another_folder(text, tmp_path):
    out = small(text, tmp_path / "run", until=2)
    for name, value in (("lr", 0.5), ("batch", 8), ("seed", 1), ("precision", "bf16"), ("val_fraction", 0.3)):
        with pytest.raises(ValueError, match=f"{name}: expected .*, as in the run in .*got {value!r}|tokenizer"):
            small(text, out, **{name: value})
    text_too = text.with_name("other.txt")
    text_too.write_text(text.read_text() + f"\n{END}\none more")
    with pytest.raises(ValueError, match="dataset: expected"):
        small(text_too, out)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--dataset=nowhere.txt"], "dataset: expected python, hf:NAME, or a file or folder that is there"),
        (["--depth=0"], "depth: expected an integer >= 1, got 0"),
        (["--device=cuda:99"], "device: expected auto, cpu or a GPU that is there, got 'cuda:99'"),
        (["--device=abacus"], "device: expected"),
        (["--val-fraction=2"], "val_fraction: expected a number from 0 to 1"),
        (["--tokenizer=nowhere.json"], "nowhere.json"),
        (["--vocab=100"], "vocab_size: expected an integer >= 257"),
    ],
)
def test_errors_are_one_line(text, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as end:
        main(arguments(text, tmp_path / "run", *more))
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith("pretraining: ") and error.count("\n") == 1
    assert message in error


def test_a_file_in_the_way_and_a_missing_tensorboard(text, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="out: expected a folder, got the file"):
        small(text, text)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="tensorboard: expected the package tensorboard"):
        small(text, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_what_the_log_gets(tmp_path):
    seen = []

    class Writer:
        def add_scalar(self, *what):
            seen.append(what)

        def flush(self):
            pass

    log = command.BoardLog(tmp_path / "log.jsonl", Writer())
    log.add({"step": 3, "loss": 2.0, "lr": 0.1})
    assert seen == [("loss", 2.0, 3), ("lr", 0.1, 3)] and len(read_log(tmp_path / "log.jsonl")) == 1


def test_a_tokenizer_that_has_no_end_or_gaps(text, tmp_path):
    Tokenizer.train("low lower", 258).save(tmp_path / "endless.json")
    full = Tokenizer.train("low lower", 258, special=[END])
    Tokenizer(full.vocab, full.merges, special={END: 400}).save(tmp_path / "gap.json")
    for name in ("endless.json", "gap.json"):
        with pytest.raises(ValueError, match=r"tokenizer: expected ids from 0 without gaps and the special token"):
            small(text, tmp_path / "run", tokenizer=tmp_path / name)


def test_every_size_of_the_recipe_has_an_option():
    names = set(vars(parser().parse_args(["--out=x"])))
    assert set(recipe(1).__dataclass_fields__) <= names


# Evaluation and export


def test_spread_batches_reach_both_ends():
    tokens = np.arange(1000)
    batches = spread_batches(tokens, 100, 3, 10)
    inputs = torch.cat([x for x, _ in batches])
    assert inputs.shape == (10, 10) and inputs[0, 0] == 0 and batches[-1][1][-1, -1] == 999
    assert all(torch.equal(y, x + 1) for x, y in batches)
    assert spread_batches(np.arange(5), 100, 3, 10)[0][0].shape[1] == 4


@pytest.fixture
def exported(tmp_path):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train("def main(): return 'häßlich'\n" * 5 + " ".join(WORDS) * 3, 330, special=[END])
    cfg = GPTConfig.llama(
        vocab_size=len(tokenizer),
        context_length=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        d_model=32,
        d_ff=None,
        tied=True,
    )
    model = GPT(cfg)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    export_model(model, tokenizer, tmp_path / "model")
    return model, tokenizer, tmp_path / "model"


def test_export_and_load_are_inverse(exported, tmp_path):
    model, tokenizer, folder = exported
    again, read = load_exported(folder)
    assert read == tokenizer
    ids = torch.tensor([tokenizer.encode("def main(): the cat")])
    assert torch.equal(again(ids), model(ids))
    export_model(model, tokenizer, tmp_path / "half", torch.bfloat16)
    half, _ = load_exported(tmp_path / "half")
    assert next(model.parameters()).dtype == next(half.parameters()).dtype == torch.float32
    difference = (half(ids) - model(ids)).abs().max()
    assert 0 < difference < 0.2
    with pytest.raises(ValueError, match=r"tokenizer: expected \d+ tokens, as the model has, got 257"):
        export_model(model, Tokenizer.train("low", 257, special=[END]), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_transformers_reads_the_same_model_and_tokenizer(exported):
    transformers = pytest.importorskip("transformers")
    model, tokenizer, folder = exported
    llama = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.randint(0, len(tokenizer), (2, 32))
    with torch.no_grad():
        torch.testing.assert_close(llama(ids).logits, model(ids), rtol=0, atol=1e-4)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    for text in ("def main(): return 'häßlich'\n", "the  cat\t\n\n sat", "日本語 \x00 🙂"):
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
    assert theirs(f"the cat{END}")["input_ids"] == tokenizer.encode(f"the cat{END}", allowed="all")
    assert llama.config.eos_token_id == tokenizer.special[END]
