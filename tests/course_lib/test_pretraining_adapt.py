"""Adapting: padding never counts, frozen means frozen, and a classifier learns."""

import pytest
import torch

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import Classifier, finetune_classifier, format_task, masked_mean

CFG = GPTConfig(vocab_size=12, context_length=8, n_layers=2, n_heads=2, d_model=16, dropout=0.4)


def checkpoint() -> dict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {"cfg": CFG, "weights": GPT(CFG).state_dict()}


def examples(count: int = 12) -> dict:
    g = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 2
    ids = torch.randint(1, 6, (count, 8), generator=g) + 6 * labels[:, None]
    ids[:, 5:] = 0
    return {"ids": ids, "labels": labels, "n_classes": 2, "pad": 0}


def adapt(freeze: bool, steps: int = 5, lr: float = 0.01, seed: int = 0):
    return finetune_classifier(checkpoint(), examples(), freeze, steps, lr, torch.Generator().manual_seed(seed))


def test_a_format_has_its_length_and_all_parts() -> None:
    for size in range(9):
        for length in range(2, 9):
            ids = format_task(50, list(range(1, size + 1)), length, 60, 0)
            kept = min(size, length - 2)
            assert len(ids) == length and ids[: kept + 2] == [50, *range(1, kept + 1), 60] and not any(ids[kept + 2 :])
    with pytest.raises(ValueError, match="length"):
        format_task(50, [1], 1, 60, 0)


def test_the_mean_agrees_with_a_loop_and_ignores_what_is_hidden() -> None:
    hidden, mask = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(2)), torch.rand(4, 5) > 0.4
    mask[0], mask[1] = True, False
    want = torch.stack([h[m].mean(0) if m.any() else torch.zeros(3) for h, m in zip(hidden, mask, strict=True)])
    hidden[~mask] = torch.inf
    torch.testing.assert_close(masked_mean(hidden, mask), want)
    with pytest.raises(ValueError, match="mask"):
        masked_mean(hidden, mask[:, :3])


def test_padding_does_not_change_an_answer() -> None:
    model = Classifier(checkpoint(), 3, pad=0).eval()
    short = torch.tensor([[3, 7, 2]])
    torch.testing.assert_close(model(short), model(torch.tensor([[3, 7, 2, 0, 0, 0]])))


def test_the_hidden_states_are_what_the_token_table_is_multiplied_with() -> None:
    model = Classifier(checkpoint(), 3, pad=0).eval()
    ids = examples()["ids"]
    torch.testing.assert_close(
        model.hidden(ids) @ model.backbone.token_embedding.weight.T, model.backbone(ids), rtol=1e-4, atol=1e-5
    )


def test_frozen_is_frozen_and_steady() -> None:
    model, losses = adapt(freeze=True, lr=1e-9)
    assert max(losses) - min(losses) < 1e-5
    model, _ = adapt(freeze=True)
    assert all(torch.equal(model.backbone.state_dict()[name], value) for name, value in checkpoint()["weights"].items())


def test_without_freezing_all_weights_move_with_dropout_and_the_checkpoint_stays() -> None:
    _, losses = adapt(freeze=False, lr=1e-9)
    assert max(losses) - min(losses) > 1e-5
    given = checkpoint()
    before = {name: value.clone() for name, value in given["weights"].items()}
    model, _ = finetune_classifier(given, examples(), False, 3, 0.01, torch.Generator())
    still = [n for n, v in model.backbone.state_dict().items() if torch.equal(v, before[n]) and "k_proj.bias" not in n]
    assert still == [] and all(torch.equal(given["weights"][name], value) for name, value in before.items())


@pytest.mark.parametrize("freeze", [True, False])
def test_it_learns_and_repeats(freeze: bool) -> None:
    (model, losses), (_, again), (_, other) = (adapt(freeze, 60, 0.02, seed) for seed in (0, 0, 1))
    data = examples()
    assert (model(data["ids"]).argmax(-1) == data["labels"]).all() and not model.training
    assert losses == again != other and len(losses) == 60


def test_labels_of_another_length_are_named() -> None:
    with pytest.raises(ValueError, match="labels"):
        finetune_classifier(
            checkpoint(), examples() | {"labels": torch.zeros(3).long()}, True, 1, 0.1, torch.Generator()
        )
