"""A whole run in one function: what it draws from, what it logs, and the shares in which it samples."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.attention import GPT
from course_lib.pretraining import held_out_loss, lr_at, pretrain, sample

V = 7


def settings(**changes):
    usual = {"vocab_size": V, "context_length": 6, "n_layers": 1, "n_heads": 2, "d_model": 16, "dropout": 0.0}
    usual |= {"batch_size": 8, "lr": 0.02, "warmup": 2, "clip": 1.0, "eval_every": 3}
    return SimpleNamespace(**usual | changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def text(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(V, (length,), generator=generator(seed))


def test_a_plain_loop_gives_the_same_weights() -> None:
    cfg, data, steps = settings(dropout=0.2), text(200), 5
    model, log = pretrain(cfg, data, steps, generator(3))
    g = generator(3)
    torch.manual_seed(int(torch.randint(2**62, (), generator=g)))
    plain = GPT(cfg)
    decaying = [p for p in plain.parameters() if p.ndim > 1]
    others = [p for p in plain.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decaying, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.95)
    )
    losses = []
    for step in range(steps):
        starts = torch.randint(180 - 6, (8,), generator=g).tolist()
        rows = torch.stack([data[s : s + 7] for s in starts])
        loss = F.cross_entropy(plain(rows[:, :-1]).transpose(1, 2), rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, 2, steps, 0.02, 0.002)
        optimizer.step()
        losses.append(loss.item())
        if step + 1 == 3:
            plain.eval()
            expected = held_out_loss(plain, data[180:], 6)
            plain.train()
    assert [record["loss"] for record in log] == pytest.approx(losses, rel=1e-4)
    assert [record["step"] for record in log if "val_loss" in record] == [3, 5]
    assert log[2]["val_loss"] == pytest.approx(expected, rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_the_held_out_ids_make_no_difference_to_the_weights_and_torch_s_stream_is_left_alone() -> None:
    data = text(300)
    other = torch.cat([data[:270], text(30, seed=9)])
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    (first, log), (second, other_log) = (pretrain(settings(), ids, 4, generator(1)) for ids in (data, other))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert log[-1]["val_loss"] != other_log[-1]["val_loss"] and not first.training


def test_observe_is_called_with_each_evaluation() -> None:
    seen = []
    model, _ = pretrain(settings(), text(200), 7, generator(), lambda step, state: seen.append((step, dict(state))))
    assert [step for step, _ in seen] == [3, 6, 7]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in seen[-1][1].items())


def test_held_out_loss_is_a_mean_over_windows() -> None:
    table = torch.randn(V, V, generator=generator(2))
    ids = text(6 * 70 + 4)  # more than one batch of windows, and a rest
    want = F.cross_entropy(table[ids[:420]], ids[1:421]).item()
    assert held_out_loss(lambda x: table[x], ids, 6) == pytest.approx(want, rel=1e-5)
    with pytest.raises(ValueError, match="ids"):
        held_out_loss(lambda x: table[x], ids[:6], 6)


def test_the_shares_of_sampled_tokens_are_the_tempered_probabilities() -> None:
    logits, n = torch.tensor([0.0, 1.0, 2.5]), 20_000
    for temperature in (0.5, 1.0, 3.0):
        drawn = sample(
            lambda ids: logits.expand(*ids.shape, 3), torch.zeros(n, 1).long(), 1, 4, temperature, generator()
        )
        powers = [math.exp(z / temperature) for z in logits.tolist()]
        for token, power in enumerate(powers):
            p = power / sum(powers)
            assert abs((drawn[:, 1] == token).double().mean() - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_the_model_sees_the_last_tokens_only() -> None:
    lengths = []

    def model(ids: torch.Tensor) -> torch.Tensor:
        lengths.append(ids.shape[1])
        return F.one_hot((ids + 2) % 5, 5).float()

    got = sample(model, torch.tensor([[0, 1, 2]]), 4, context_length=4, temperature=0)
    assert lengths == [3, 4, 4, 4] and got.tolist() == [[0, 1, 2, 4, 1, 3, 0]]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: pretrain(settings(), text(40), 3, generator()), "data"),
        (lambda: pretrain(settings(), text(200), 0, generator()), "steps"),
        (lambda: pretrain(settings(eval_every=0), text(200), 3, generator()), "eval_every"),
        (lambda: sample(lambda x: x, torch.zeros(1, 1).long(), 1, 4, -1.0), "temperature"),
        (lambda: sample(lambda x: x, torch.zeros(1, 0).long(), 1, 4), "ids"),
        (lambda: sample(lambda x: x, torch.zeros(1, 1).long(), -1, 4), "n"),
    ],
)
def test_bad_settings_are_named(call, name) -> None:
    with pytest.raises(ValueError, match=name):
        call()
