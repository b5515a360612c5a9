"""Two processes make the same steps as one with twice the accumulation, and go on from a checkpoint together."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from course_lib.pretraining import load_checkpoint, read_log
from course_lib.pretraining.ddp import main, read_tokens, split

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
SIZES = {"context": 8, "layers": 1, "heads": 2, "width": 8, "batch": 2, "warmup": 1, "lr": 0.01, "checkpoint-every": 3}
SMALL = [f"--{name}={value}" for name, value in SIZES.items()] + ["--quiet"]

# Two processes with other data than one another, of which some targets do not count: so the ranks' counts differ. In
# double precision: Adam would blow up the last digit of a gradient that is nearly zero.
WORKER = """
import sys, torch
torch.set_num_threads(1)
from course_lib.attention import GPT, GPTConfig
from course_lib.pretraining import TokenBatches, TrainConfig, Trainer
from course_lib.pretraining.distributed import process_group, rank, world_size

class Uneven(TokenBatches):
    def next_batch(self):
        batch = super().next_batch()
        rows = batch.inputs.sum(1, keepdim=True) % 7  # as many targets of a row count
        places = torch.arange(self.T).expand_as(batch.targets)
        return batch._replace(targets=batch.targets.masked_fill(places > rows, -100))

def train(folder, accumulation, in_parts=False, steps=6):
    batches = Uneven(torch.arange(900) ** 2 % 23, 2, 8, seed=1, rank=rank(), world=world_size())
    torch.manual_seed(rank())  # other weights in each process: rank 0's must win
    model = GPT(GPTConfig(23, 8, 1, 2, 8)).double()
    cfg = TrainConfig(steps, 1e-2, 1, accumulation=accumulation, folder=folder, progress=False)
    held_out = [(torch.arange(8)[None], torch.arange(n, n + 8)[None].masked_fill(torch.arange(8) < n, -100))
                for n in range(1, 4)]
    trainer = Trainer(model, batches, cfg, held_out)
    if in_parts:
        trainer.run(until=3)
        trainer = Trainer(GPT(GPTConfig(23, 8, 1, 2, 8)).double(), Uneven(batches.tokens, 2, 8, seed=1, rank=rank(),
                          world=world_size()), cfg, held_out)
        assert trainer.resume()
    trainer.run()
    assert trainer.log.path is None or rank() == 0
    return trainer

if __name__ == "__main__":
    with process_group():
        train(sys.argv[1], 2, in_parts=True)
"""


def torchrun(arguments, folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", str(port), *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def largest_difference(a, b):
    one, two = (load_file(folder / "checkpoint.safetensors") for folder in (a, b))
    names = [name for name in one if name.startswith("model.")]
    return max(float((one[name] - two[name]).abs().max()) for name in names)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    worker = folder / "worker.py"
    worker.write_text(WORKER)
    torchrun([worker, folder / "two"], folder)
    scope = {"__name__": "worker"}
    exec(WORKER, scope)
    scope["train"](folder / "one", 4)
    scope["train"](folder / "half", 2)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="gloo over the loopback device of Linux")
def test_two_processes_equal_one_with_twice_the_accumulation(runs):
    # Two processes, stopped and resumed in the middle, against one in one go.
    assert largest_difference(runs / "two", runs / "one") < 1e-6
    assert largest_difference(runs / "half", runs / "one") > 1e-3  # what half of the data would give
    two, one = (read_log(runs / name / "log.jsonl") for name in ("two", "one"))
    for name in ("loss", "grad_norm", "tokens"):
        assert [r[name] for r in two if name in r] == pytest.approx([r[name] for r in one if name in r], rel=1e-5)
    assert [r for r in two if "val_loss" in r][-1] == pytest.approx([r for r in one if "val_loss" in r][-1], rel=1e-5)
    assert len({one[n + 1]["tokens"] - one[n]["tokens"] for n in range(5)}) > 1  # the counts do differ
    ends = [load_checkpoint(runs / name / "checkpoint.safetensors")["cursor"] for name in ("two", "one")]
    assert ends[0] == ends[1]


def test_means_of_the_ranks_own_means_would_be_another_gradient():
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 5, requires_grad=True)
    targets = torch.tensor([[1, 2, 3, 4, 0, 1], [2, -100, -100, -100, -100, -100]])
    flat = logits.flatten(0, 1)
    (right,) = torch.autograd.grad(torch.nn.functional.cross_entropy(flat, targets.flatten()), logits)
    each = [torch.nn.functional.cross_entropy(logits[i], targets[i]) for i in range(2)]
    (wrong,) = torch.autograd.grad(sum(each) / 2, logits)
    assert (right - wrong).abs().max() > 0.05


def test_the_command_trains_and_goes_on(tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(b"to be or not to be, that is the question. " * 30)
    whole = main([*SMALL, "--steps", "8", "--text", str(text), "--folder", str(tmp_path / "a")])
    assert whole.step == 8 and len(whole.log.column("val_loss")) == 1
    again = main([*SMALL, "--steps", "8", "--text", str(text), "--folder", str(tmp_path / "a")])
    assert again.log.records == whole.log.records  # nothing was left to do
    main([*SMALL, "--steps", "8", "--text", str(text), "--seed", "1", "--folder", str(tmp_path / "b")])
    assert largest_difference(tmp_path / "a", tmp_path / "b") > 0


def test_texts_and_shares(tmp_path):
    (tmp_path / "text").write_bytes(bytes(range(256)))
    assert read_tokens(tmp_path / "text").tolist() == list(range(256)) and len(read_tokens(None)) > 10_000
    (tmp_path / "none").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^path: expected a file that is not empty"):
        read_tokens(tmp_path / "none")
    for share in (0.0, 1.0, 0.001):
        with pytest.raises(ValueError, match=r"^held_out: expected"):
            split(torch.arange(100), share)
