"""The training loop: deterministic, the schedule as stated, and each setting does what it says."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from course_lib.attention import GPT, GPTConfig, learning_rate, make_optimizer, mean_loss, random_windows, train

torch.set_num_threads(1)
TEXT = torch.arange(400) * 7 % 11  # the next token follows from this one
CFG = GPTConfig(vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=16, dropout=0.1)


def trained(steps=12, seed=0, **settings):
    torch.manual_seed(4)
    model = GPT(CFG)
    losses = train(model, random_windows(TEXT, 4, 8), steps, lr=1e-2, seed=seed, progress=False, **settings)
    return model, losses


def test_it_learns_what_can_be_learned():
    model, losses = trained(120)
    assert len(losses) == 120 and losses[-1] < 0.5 < 2 < losses[0] < 3
    batches = [random_windows(TEXT, 8, 8)(torch.Generator().manual_seed(9))]
    assert mean_loss(model, batches) < 0.3  # without dropout


def test_the_same_seed_gives_the_same_run_to_the_last_bit():
    (a, losses), (b, again) = trained(), trained()
    assert losses == again and all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert losses != trained(seed=1)[1]


def test_the_seed_decides_about_dropout_and_leaves_the_random_stream_alone():
    always = random_windows(TEXT, 4, 8)(torch.Generator().manual_seed(0))
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(4)
        runs.append(train(GPT(CFG), lambda g: always, 3, seed=seed, progress=False))
    assert runs[0] == runs[1] != runs[2]
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    model = nn.Linear(1, 1)
    torch.manual_seed(5)
    train(model, lambda g: (torch.ones(1),), 2, progress=False, loss_fn=lambda m, x: m(torch.rand(1)).sum())
    assert torch.equal(torch.rand(3), want)


def test_the_mode_is_given_back():
    model, modes = GPT(CFG), []
    for training in (True, False):
        model.train(training)
        modes.clear()
        train(model, random_windows(TEXT, 2, 8), 2, progress=False, callback=lambda s, x: modes.append(model.training))
        assert modes == [True, True] and model.training == training
        mean_loss(model, [random_windows(TEXT, 2, 8)(torch.Generator())])
        assert model.training == training
        with pytest.raises(ZeroDivisionError):
            train(model, lambda g: 1 / 0, 2, progress=False)
        assert model.training == training


def test_a_callback_hears_every_step():
    heard = []
    _, losses = trained(5, callback=lambda step, loss: heard.append((step, loss)))
    assert heard == list(enumerate(losses))


def one_weight(start, gradient, steps, **settings):
    """Where a single weight goes when its gradient is constant."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, start)
    path = []

    def loss_fn(model):
        path.append(model.weight.item())
        return gradient * model.weight.sum()

    train(model, lambda g: (), steps, progress=False, loss_fn=loss_fn, **settings)
    return [*path, model.weight.item()]


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_steps_have_the_size_that_the_schedule_says(schedule):
    # Under a constant gradient Adam's step is the learning rate, whatever the gradient's size.
    path = one_weight(0.0, 3.0, 10, lr=0.1, warmup=3, schedule=schedule, final_lr=0.01, clip=None)
    taken = [a - b for a, b in pairwise(path)]
    wanted = [learning_rate(s, 10, 0.1, 3, schedule, 0.01) for s in range(10)]
    assert taken == pytest.approx(wanted, rel=1e-3)


def test_weight_decay_pulls_matrices_and_spares_vectors():
    path = one_weight(1.0, 0.0, 3, lr=0.1, weight_decay=0.5, schedule="constant")
    assert path == pytest.approx([0.95**n for n in range(4)], rel=1e-5)
    model = nn.LayerNorm(3)
    train(model, lambda g: (torch.zeros(3),), 3, weight_decay=0.5, progress=False, loss_fn=lambda m, x: m(x).sum() * 0)
    assert torch.equal(model.weight, torch.ones(3))
    decays = {id(p): g["weight_decay"] for g in make_optimizer(GPT(CFG), 0.1, 0.3).param_groups for p in g["params"]}
    assert sorted(set(decays.values())) == [0.0, 0.3] and len(decays) == len(list(GPT(CFG).parameters()))


def test_clipping_cuts_the_norm_of_all_gradients_together():
    def run(clip):
        """The norm that the optimizer sees at its only step."""
        seen, real = [], torch.optim.AdamW.step

        def step(self, *args, **kwargs):
            gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"]]
            seen.append(torch.cat(gradients).norm().item())
            return real(self, *args, **kwargs)

        batch = (torch.tensor([3.0, 4.0]),)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", step)
            train(nn.Linear(2, 1), lambda g: batch, 1, clip=clip, progress=False, loss_fn=lambda m, x: m(x)[0])
        return seen[0]

    seen = [run(clip) for clip in (None, 1.0, 100.0)]
    full = math.sqrt(3**2 + 4**2 + 1)
    assert seen == pytest.approx([full, 1.0, full], rel=1e-4)


def test_learning_rates_at_the_corners():
    assert learning_rate(0, 1, 0.3) == 0.3
    for schedule in ("cosine", "linear"):
        rates = [learning_rate(s, 20, 1.0, 4, schedule, 0.1) for s in range(20)]
        assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0]) and rates[-1] == pytest.approx(0.1)
        assert all(a > b for a, b in pairwise(rates[4:]))
    # The cosine is half-way down in the middle, and flat at both ends.
    assert learning_rate(5, 11, 1.0) == pytest.approx(0.5)
    assert 1 - learning_rate(1, 11, 1.0) < 0.03 and learning_rate(9, 11, 1.0) < 0.03
    assert learning_rate(9, 10, 1.0, schedule="constant") == 1.0


def test_windows_cover_the_text_and_targets_are_the_next_tokens():
    text = torch.arange(10)
    next_batch = random_windows(text, 400, 4)
    inputs, targets = next_batch(torch.Generator().manual_seed(0))
    assert torch.equal(targets, inputs + 1)
    assert set(inputs[:, 0].tolist()) == set(range(6)) and targets.max() == 9
    shares = torch.bincount(inputs[:, 0]) / 400
    assert (shares - 1 / 6).abs().max() < 5 * math.sqrt(1 / 6 * 5 / 6 / 400)
    small = random_windows(text.to(torch.uint8), 2, 4)(torch.Generator())
    assert small[0].dtype == torch.int64
    assert random_windows(torch.arange(5), 1, 4)(torch.Generator())[0].tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    "settings, name",
    [
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"warmup": 3}, "warmup"),
        ({"warmup": -1}, "warmup"),
        ({"schedule": "step"}, "schedule"),
        ({"final_lr": 1.0}, "final_lr"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"clip": 0.0}, "clip"),
        ({"clip": math.nan}, "clip"),
        ({"loss_fn": lambda model, *batch: model(batch[0])}, "model"),
        ({"loss_fn": lambda model, *batch: 3.0}, "model"),
        ({"model": nn.Identity()}, "model"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings, name):
    drawn = []

    def next_batch(generator):
        drawn.append(1)
        return random_windows(TEXT, 2, 8)(generator)

    arguments = {"model": GPT(CFG), "next_batch": next_batch, "steps": 3, "progress": False} | settings
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        train(**arguments)
    assert not drawn or "loss_fn" in settings


def test_too_little_text_and_no_batches_are_refused():
    with pytest.raises(ValueError, match="ids: expected more than T = 10"):
        random_windows(torch.arange(10), 2, 10)
    with pytest.raises(ValueError, match="batches"):
        mean_loss(GPT(CFG), [])
    with pytest.raises(ValueError, match="step: expected less"):
        learning_rate(3, 3, 0.1)
