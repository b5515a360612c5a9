"""The training loop: it learns, resumes to the last bit after a real kill, and each setting does what it says."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import TokenBatches, TrainConfig, Trainer, evaluation_batches, lr_at, read_log, wsd_at

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
TEXT = torch.arange(500) * 7 % 11
GPT_CFG = GPTConfig(11, 8, 1, 2, 16, dropout=0.1)


def trainer(folder=None, model=None, batch_size=4, batches=None, evaluation=None, **settings):
    torch.manual_seed(4)
    model = model or GPT(GPT_CFG)
    cfg = TrainConfig(**{"steps": 8, "lr": 1e-2, "warmup": 2, "folder": folder, "progress": False} | settings)
    return Trainer(model, batches or TokenBatches(TEXT, batch_size, 8, seed=1), cfg, evaluation)


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


def test_it_learns_and_logs(tmp_path):
    held_out = list(evaluation_batches(TEXT[:100], 4, 8))
    run = trainer(tmp_path, steps=80, eval_every=40, evaluation=held_out)
    log = run.run()
    losses = log.column("loss")
    assert len(losses) == 80 and losses[-1] < 1 < 2 < losses[0] < 3
    assert log.column("lr") == [lr_at(step, 2, 80, 1e-2, 1e-3) for step in range(80)]
    assert log.column("tokens") == [32 * n for n in range(1, 81)]
    assert [r["step"] for r in log.records if "val_loss" in r] == [40, 80]
    assert read_log(tmp_path / "log.jsonl") == log.records
    # The evaluation counts tokens, not batches, and without dropout.
    run.model.eval()
    with torch.no_grad():
        logits = torch.cat([run.model(x) for x, _ in held_out]).flatten(0, 1)
    targets = torch.cat([y for _, y in held_out]).flatten()
    assert (targets != -100).sum() == 99
    want = nn.functional.cross_entropy(logits, targets).item()
    assert log.column("val_loss")[-1] == pytest.approx(want, rel=1e-6) == run.evaluate()


def test_interrupted_and_resumed_is_the_same_run_to_the_last_bit(tmp_path):
    whole = trainer(tmp_path / "a")
    whole.run()
    for guard in (0, 2):
        folder = tmp_path / f"b{guard}"
        trainer(folder, guard_every=guard).run(until=3)
        torch.manual_seed(77)
        second = trainer(folder, model=GPT(GPT_CFG), guard_every=guard)
        assert second.resume() and second.step == 3
        second.run()
        assert torch.equal(weights(second), weights(whole))
        strip = [{k: v for k, v in r.items() if k != "seconds"} for r in read_log(folder / "log.jsonl")]
        assert strip == [{k: v for k, v in r.items() if k != "seconds"} for r in whole.log.records]
    # Each part matters: with a cursor that starts anew, another run follows.
    trainer(tmp_path / "c").run(until=3)
    forgetful = trainer(tmp_path / "c")
    forgetful.resume()
    forgetful.batches = TokenBatches(TEXT, 4, 8, seed=1)
    forgetful.run()
    assert not torch.equal(weights(forgetful), weights(whole))


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from test_pretraining_train_loop import trainer
run = trainer(sys.argv[1], checkpoint_every=3)
add = run.log.add
def kill_later(record):
    add(record)
    if record["step"] == 5:
        os.kill(os.getpid(), 9)
run.log.add = kill_later
run.run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_by_the_system_and_resumed_is_the_same_run_to_the_last_bit(tmp_path):
    folder = tmp_path / "run"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, str(folder), str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with open(folder / "log.jsonl", "a") as file:
        file.write('{"step": 6, "lo')  # a line that the kill has cut
    assert [r["step"] for r in read_log(folder / "log.jsonl")] == [1, 2, 3, 4, 5]
    second = trainer(folder, checkpoint_every=3)
    assert second.resume() and second.step == 3
    assert [r["step"] for r in read_log(folder / "log.jsonl")] == [1, 2, 3]
    second.run()
    whole = trainer()
    whole.run()
    assert torch.equal(weights(second), weights(whole))
    assert second.log.column("loss") == whole.log.column("loss")


def test_a_run_is_not_overwritten_by_accident(tmp_path):
    assert not trainer(tmp_path).resume() and not trainer().resume()
    trainer(tmp_path).run(until=2)
    with pytest.raises(ValueError, match=r"^folder: expected one without a checkpoint"):
        trainer(tmp_path).run()
    with pytest.raises(ValueError, match=r"^folder: expected one in the configuration"):
        trainer().save()


def test_accumulation_equals_larger_batches():
    model = GPTConfig(11, 8, 1, 2, 16)
    runs = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        torch.manual_seed(0)
        runs.append(trainer(None, GPT(model), batch_size, accumulation=accumulation))
        runs[-1].run()
    one, four = runs
    torch.testing.assert_close(weights(one), weights(four), rtol=0, atol=2e-5)
    assert one.log.column("loss") == pytest.approx(four.log.column("loss"), rel=1e-5)
    torch.manual_seed(0)
    fewer = trainer(None, GPT(model), 2)
    fewer.run()
    assert (weights(fewer) - weights(one)).abs().max() > 1e-3


def test_clipping_decay_and_schedule_reach_the_optimizer():
    unclipped, clipped = trainer(clip=None), trainer(clip=0.01)
    seen = {}
    for run in (unclipped, clipped):
        real = run.optimizer.step

        def step(run=run, real=real):
            grads = torch.cat([p.grad.flatten() for p in run.parameters])
            seen.setdefault(run, []).append(grads.norm().item())
            real()

        run.optimizer.step = step
        run.run()
    assert seen[unclipped] == pytest.approx(unclipped.log.column("grad_norm"), rel=1e-5)
    assert seen[clipped] == pytest.approx([0.01] * 8, rel=1e-4) and min(clipped.log.column("grad_norm")) > 0.1
    assert {group["weight_decay"] for group in trainer(wd=0.3).optimizer.param_groups} == {0.3, 0.0}
    wsd = trainer(schedule="wsd", cooldown=4, cooldown_shape="linear", floor=0.0)
    assert wsd.run().column("lr") == [wsd_at(s, 2, 8, 1e-2, 0.0, 4, "linear") for s in range(8)]
    assert trainer(schedule="constant").run().column("lr")[1:] == pytest.approx([2e-2 / 3] + [1e-2] * 6)


def test_bfloat16_keeps_float32_weights_and_learns():
    run = trainer(precision="bf16", steps=60)
    losses = run.run().column("loss")
    assert losses[-1] < 1.2 < losses[0] and {p.dtype for p in run.parameters} == {torch.float32}
    plain = trainer(steps=60).run().column("loss")
    assert losses != plain and losses[0] == pytest.approx(plain[0], rel=0.02)


def test_compiled_runs_are_the_same_and_leave_no_trace(tmp_path):
    plain, compiled = trainer(), trainer(tmp_path, compile="eager", evaluation=[(TEXT[None, :8], TEXT[None, 1:9])])
    assert compiled.compiled is not compiled.model
    plain.run(), compiled.run()
    torch.testing.assert_close(weights(plain), weights(compiled), rtol=0, atol=1e-4)
    saved = load_file(tmp_path / "checkpoint.safetensors")
    assert {f"model.{name}" for name in plain.model.state_dict()} <= saved.keys()


class Poisoned(TokenBatches):
    """Batches of which one, counted over the whole run, has targets that teach nonsense; some may be left out."""

    at, count, skip = 52, 0, ()

    def next_batch(self):
        batch = super().next_batch()
        while self.count in self.skip:
            batch = super().next_batch()
            self.count += 1
        self.count += 1
        return batch._replace(targets=(batch.targets * 5 + 3) % 11) if self.count == self.at + 1 else batch


def test_the_guard_goes_back_and_leaves_the_poisoned_batch_out(tmp_path):
    def run(guard, skip=()):
        batches = Poisoned(TEXT, 16, 8, seed=1)
        batches.skip = skip
        folder = tmp_path / f"{guard}{len(skip)}"
        one = trainer(folder, batches=batches, guard_every=guard, steps=60, clip=None, schedule="constant")
        one.run()
        return one

    guarded, bare, clean = run(5), run(0), run(0, skip=(50, 51, 52))
    # State 50 was good, step 52 was not: batches 50, 51 and 52 are lost, and three others take their place.
    assert [r for r in guarded.log.records if "spike_at" in r] == [{"step": 50, "spike_at": 52}]
    losses, spoilt = guarded.log.column("loss"), bare.log.column("loss")
    assert len(losses) == 60 and losses[:50] == spoilt[:50] and guarded.batches.count == 63
    assert spoilt[52] > 3 * max(losses[50:]) and spoilt[53] > losses[53]  # the damage shows afterwards
    assert read_log(tmp_path / "50" / "log.jsonl") == guarded.log.records
    # To the last bit, dropout included, as if those batches had never been.
    assert losses == clean.log.column("loss") and torch.equal(weights(guarded), weights(clean))


def test_what_is_not_finite_never_reaches_the_weights():
    run = trainer(steps=4)
    before = weights(run)
    real, calls = run.batches.next_batch, []

    def poison():
        calls.append(1)
        for p in run.parameters[:1]:
            p.register_hook(lambda g: g * math.nan)
        return real()

    run.batches.next_batch = poison
    with pytest.raises(FloatingPointError, match="at step 0; weights untouched"):
        run.run()
    assert torch.equal(weights(run), before) and calls == [1]
    with pytest.raises(RuntimeError, match="still spikes after 10 returns to step 0"):
        guarded = trainer(steps=4, guard_every=1)
        guarded.parameters[0].register_hook(lambda g: g * math.inf)
        guarded.run()


def test_logs_are_json_lines_and_damage_is_named(tmp_path):
    trainer(tmp_path).run(until=3)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    (tmp_path / "log.jsonl").write_text(lines[0] + "\nnonsense\n" + lines[1] + "\n")
    with pytest.raises(ValueError, match=r"^path: expected a JSON record in line 2 of .*log\.jsonl"):
        read_log(tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    "settings, name",
    [
        ({"steps": 0}, "steps"),
        ({"lr": 0.0}, "lr"),
        ({"lr": "fast"}, "lr"),
        ({"warmup": 8}, "warmup"),
        ({"schedule": "step"}, "schedule"),
        ({"floor": 1.0}, "floor"),
        ({"schedule": "wsd", "cooldown": 9}, "cooldown"),
        ({"cooldown_shape": "cosine"}, "cooldown_shape"),
        ({"accumulation": 0}, "accumulation"),
        ({"wd": -1.0}, "wd"),
        ({"clip": 0.0}, "clip"),
        ({"precision": "fp16"}, "precision"),
        ({"eval_every": -1}, "eval_every"),
        ({"checkpoint_every": 1.5}, "checkpoint_every"),
        ({"guard_every": -1}, "guard_every"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        trainer(**settings)


def test_evaluation_needs_targets():
    for evaluation in (None, [], lambda: iter([(TEXT[None, :8], torch.full((1, 8), -100))])):
        with pytest.raises(ValueError, match=r"^evaluation: expected"):
            trainer(evaluation=evaluation).evaluate()
