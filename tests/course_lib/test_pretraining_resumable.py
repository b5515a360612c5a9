"""A run in pieces is the run in one piece, and both do what AdamW on a table of logits does, reckoned in float64."""

import copy
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from course_lib.pretraining import continue_run

V = 7
CFG = SimpleNamespace(vocab_size=V, batch_size=9, lr=0.2, steps=40, seed=3)
DATA = torch.randint(V, (200,), generator=torch.Generator().manual_seed(0))


def by_hand(data, until, cfg):
    """The same run in numpy, float64; only the places are torch's."""
    g, data = torch.Generator().manual_seed(cfg.seed), data.numpy()
    z, m, v, losses = np.zeros((V, V)), np.zeros((V, V)), np.zeros((V, V)), []
    for s in range(until):
        places = torch.randint(len(data) - 1, (cfg.batch_size,), generator=g).numpy()
        grad, loss = np.zeros((V, V)), 0.0
        for now, after in zip(data[places], data[places + 1], strict=True):
            p = np.exp(z[now]) / np.exp(z[now]).sum()
            loss -= np.log(p[after]) / cfg.batch_size
            grad[now] += (p - np.eye(V)[after]) / cfg.batch_size
        losses.append(loss)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        step = m / (1 - 0.9 ** (s + 1)) / (np.sqrt(v / (1 - 0.999 ** (s + 1))) + 1e-8)
        z -= cfg.lr * (1 - s / cfg.steps) * step
    return losses


def test_it_trains_as_reckoned_by_hand():
    losses, checkpoint = continue_run(None, DATA, 25, CFG)
    assert losses == pytest.approx(by_hand(DATA, 25, CFG), rel=1e-4)
    assert checkpoint["step"] == 25


@pytest.mark.parametrize("stops", [[1, 20], [19, 20], [7, 7, 12, 20]])
def test_pieces_are_the_whole_to_the_last_bit(stops):
    whole, last = continue_run(None, DATA, 20, CFG)
    losses, checkpoint = [], None
    for until in stops:
        more, checkpoint = continue_run(checkpoint, DATA, until, CFG)
        losses += more
    assert losses == whole and torch.equal(checkpoint["table"], last["table"])


def test_a_checkpoint_survives_a_file_and_is_left_as_it_is():
    whole, _ = continue_run(None, DATA, 12, CFG)
    _, checkpoint = continue_run(None, DATA, 5, CFG)
    before = copy.deepcopy(checkpoint)
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    for given in (checkpoint, checkpoint, torch.load(file)):
        assert continue_run(given, DATA, 12, CFG)[0] == whole[5:]
    moments = [c["optimizer"]["state"][0]["exp_avg"] for c in (before, checkpoint)]
    assert torch.equal(*moments) and torch.equal(before["table"], checkpoint["table"])


@pytest.mark.parametrize("part", ["table", "optimizer", "generator"])
def test_each_part_of_the_checkpoint_is_needed(part):
    whole, _ = continue_run(None, DATA, 12, CFG)
    _, checkpoint = continue_run(None, DATA, 5, CFG)
    _, fresh = continue_run(None, DATA, 0, CFG)
    assert continue_run(checkpoint | {part: fresh[part]}, DATA, 12, CFG)[0] != whole[5:]


def test_a_run_does_not_go_back():
    _, checkpoint = continue_run(None, DATA, 5, CFG)
    with pytest.raises(ValueError, match="until"):
        continue_run(checkpoint, DATA, 4, CFG)
