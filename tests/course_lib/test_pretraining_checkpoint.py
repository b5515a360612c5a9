"""Checkpoints hold everything, are whole or not there, and say what is wrong with them."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import AdamW, decay_groups, load_checkpoint, save_checkpoint

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
CFG = GPTConfig(11, 8, 1, 2, 8)
OPTIMIZERS = {
    "ours": lambda model: AdamW(decay_groups(model, 0.1), lr=0.02),
    "torch": lambda model: torch.optim.AdamW(decay_groups(model, 0.1, key="weight_decay"), lr=0.02, fused=True),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
}


def made(optimizer="torch"):
    model = GPT(CFG)
    return model, OPTIMIZERS[optimizer](model)


def move(model, optimizer, steps=3):
    """A few steps whose batches come from all three random streams."""
    for _ in range(steps):
        low = random.randrange(3) + int(np.random.randint(3))
        ids = torch.randint(low, 11, (2, 8))
        optimizer.zero_grad()
        model(ids, ids).backward()
        optimizer.step()
    return random.random(), random.gauss(0, 1), np.random.randn(), torch.rand(1).item()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "last.safetensors"


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_loaded_run_goes_on_to_the_last_bit(path, kind):
    model, optimizer = made(kind)
    np.random.randn()  # an odd number: numpy keeps the second half of a pair
    random.gauss(0, 1)
    move(model, optimizer)
    save_checkpoint(path, model, optimizer, 3, {"epoch": 1, "position": 5}, {"best": 1.25})
    want = move(model, optimizer)
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    again, fresh = made(kind)
    fresh.param_groups[0]["lr"] = 99.0
    assert load_checkpoint(path, again, fresh) == {
        "step": 3,
        "cursor": {"epoch": 1, "position": 5},
        "extra": {"best": 1.25},
    }
    assert move(again, fresh) == want and same(again, model)
    # Each part is needed: without the optimiser or the random states another run follows.
    for parts in ({"restore_random": False}, {"optimizer": None}):
        other, fresh = made(kind)
        load_checkpoint(path, other, **{"optimizer": fresh} | parts)
        move(other, fresh)
        assert not same(other, model)


def test_other_dtypes_buffers_and_wrappers_are_kept(path):
    model = nn.Sequential(nn.Linear(3, 4).bfloat16(), nn.BatchNorm1d(4))
    model[1].num_batches_tracked.fill_(2**40)
    save_checkpoint(path, nn.parallel.DataParallel(torch.compile(model, backend="eager")))
    names = [name for name in load_file(path) if name.startswith("model.")]
    assert sorted(names) == sorted(f"model.{name}" for name in model.state_dict())
    again = nn.Sequential(nn.Linear(3, 4).bfloat16(), nn.BatchNorm1d(4))
    load_checkpoint(path, torch.compile(again, backend="eager"))
    assert all(torch.equal(x, again.state_dict()[name]) for name, x in model.state_dict().items())


def test_damage_is_found_wherever_it_is(path):
    model, optimizer = made()
    move(model, optimizer, 1)
    save_checkpoint(path, model, optimizer)
    good = path.read_bytes()
    before = [p.clone() for p in model.parameters()]
    spots = [0, 1, 7, 8, 40, len(good) // 3, len(good) // 2, len(good) - 1]
    cuts = [0, 1, 8, 100, len(good) // 2, len(good) - 1]
    damaged = [good[:i] + bytes([good[i] ^ 4]) + good[i + 1 :] for i in spots]
    damaged += [good[:n] for n in cuts] + [good + b"x"]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^path: expected .*last.safetensors"):
            load_checkpoint(path, model, optimizer)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    path.write_bytes(good)
    load_checkpoint(path, model, optimizer)


def test_a_changed_weight_would_go_unseen_without_the_checksum(path):
    model, _ = made()
    save_checkpoint(path, model)
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)
    assert load_file(path)  # safetensors itself has no objection
    with pytest.raises(ValueError, match="checksum"):
        load_checkpoint(path)


def test_other_files_and_models_are_refused(path, tmp_path):
    model, optimizer = made()
    with pytest.raises(FileNotFoundError, match="found no file"):
        load_checkpoint(path, model)
    save_file({"x": torch.ones(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="another safetensors file"):
        load_checkpoint(tmp_path / "other", model)
    save_checkpoint(path, model)
    with pytest.raises(ValueError, match=r"^optimizer: expected a checkpoint with"):
        load_checkpoint(path, model, optimizer)
    save_checkpoint(path, model, optimizer)
    for cfg, name in ((GPTConfig(12, 8, 1, 2, 8), "token_embedding"), (GPTConfig(11, 8, 2, 2, 8), "blocks.1")):
        with pytest.raises(ValueError, match=f"^model: expected .*{name}"):
            load_checkpoint(path, GPT(cfg))
    with pytest.raises(ValueError, match=r"^optimizer: expected groups"):
        load_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"^cursor, extra: expected what JSON can hold"):
        save_checkpoint(path, model, cursor={"rows": {1, 2}})
    load_checkpoint(path, model, optimizer)


class FullDisk:
    """A file that takes some bytes and has no room for the rest."""

    def __init__(self, file):
        self.file = file

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_on_a_full_disk_the_old_checkpoint_stays(path, monkeypatch):
    model, optimizer = made()
    save_checkpoint(path, model, optimizer, 1)
    old = path.read_bytes()
    monkeypatch.setattr("builtins.open", lambda *a, real=open, **k: FullDisk(real(*a, **k)))
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, model, optimizer, 2)
    monkeypatch.undo()
    assert path.read_bytes() == old and os.listdir(path.parent) == [path.name]
    assert load_checkpoint(path, model, optimizer)["step"] == 1
    # Writing to the checkpoint itself would have destroyed it.
    with pytest.raises(OSError), FullDisk(open(path, "wb")) as file:
        file.write(old)
    with pytest.raises(ValueError, match="damaged or cut short"):
        load_checkpoint(path, model)


SMALL_DISK = """
import resource, sys, torch
from course_lib.pretraining import save_checkpoint, load_checkpoint
path = sys.argv[1]
save_checkpoint(path, torch.nn.Linear(4, 4), step=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(path, torch.nn.Linear(400, 400), step=2)
except OSError as error:
    print("OSError")
print(load_checkpoint(path)["step"])
"""

KILLED = """
import os, sys, torch
from course_lib.pretraining import checkpoint
path = sys.argv[1]
checkpoint.save_checkpoint(path, torch.nn.Linear(4, 4), step=1)
os.fsync = lambda fd: os.kill(os.getpid(), 9)  # after the bytes, before the rename
checkpoint.save_checkpoint(path, torch.nn.Linear(4, 4), step=2)
"""


def run(code, path):
    # A process of its own: a limit on the size of files and a kill are for good.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, env=environment, cwd=path.parent, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of a file are POSIX")
def test_a_file_that_may_not_grow_is_an_error_and_leaves_the_old_one(tmp_path):
    done = run(SMALL_DISK, tmp_path / "run.safetensors")
    assert done.stdout.split() == ["OSError", "1"], done.stderr
    assert os.listdir(tmp_path) == ["run.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_killed_while_writing_the_old_checkpoint_stays(tmp_path):
    path = tmp_path / "run.safetensors"
    done = run(KILLED, path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert load_checkpoint(path)["step"] == 1
    assert len(os.listdir(tmp_path)) == 2  # the draft is left behind, and the next one takes its place
    save_checkpoint(path, nn.Linear(4, 4), step=3)
    assert os.listdir(tmp_path) == [path.name] and load_checkpoint(path)["step"] == 3


def test_the_file_is_plain_safetensors_and_json(path):
    model, optimizer = made()
    save_checkpoint(path, model, optimizer, 5)
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    assert json.loads(header["__metadata__"]["state"])["step"] == 5
    assert torch.equal(load_file(path)["model.token_embedding.weight"], model.token_embedding.weight)
