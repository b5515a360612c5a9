"""A bigram model: each place for itself, and as good as counting when it is trained to the end."""

import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.pretraining import BigramLM


def test_a_place_depends_on_its_own_token_only() -> None:
    torch.manual_seed(0)
    model = BigramLM(7, 4)
    ids = torch.tensor([[1, 2, 3, 2], [2, 6, 5, 2]])
    logits = model(ids)
    same = logits[ids == 2]
    assert logits.shape == (2, 4, 7) and torch.allclose(same, same[:1].expand_as(same))
    assert not torch.allclose(logits[0, 0], logits[0, 1])


def test_trained_to_the_end_it_knows_the_counts() -> None:
    torch.manual_seed(0)
    ids = torch.tensor([0, 1, 0, 2, 0, 1, 1, 2, 0, 1, 0, 1, 2, 2, 0, 1])
    here, after = ids[:-1], ids[1:]
    model = BigramLM(3, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(here[None]).flatten(0, 1), after)
        loss.backward()
        optimizer.step()
    counts = torch.zeros(3, 3)
    for a, b in zip(here.tolist(), after.tolist(), strict=True):
        counts[a, b] += 1
    shares = counts / counts.sum(1, keepdim=True)
    best = -sum(n * math.log(p) for n, p in zip(counts.flatten().tolist(), shares.flatten().tolist(), strict=True) if n)
    assert loss.item() == pytest.approx(best / len(here), abs=2e-3)


@pytest.mark.parametrize("ids", [torch.tensor([[3]]), torch.tensor([[-1]]), torch.tensor([[0.5]]), [[0]]])
def test_what_is_no_id_is_refused(ids: object) -> None:
    with pytest.raises(ValueError, match="ids"):
        BigramLM(3, 2)(ids)
