"""The training loop: accumulate, clip, step, evaluate, log, save; and go on after a kill as if nothing had been."""

import copy
import math
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from course_lib.pretraining.accumulation import Batch, backward_by_tokens, count_targets, token_loss_sum
from course_lib.pretraining.adamw import decay_groups
from course_lib.pretraining.checkpoint import load_checkpoint, random_state, save_checkpoint, set_random_state
from course_lib.pretraining.clipping import clip_grad_norm_, global_norm
from course_lib.pretraining.distributed import data_parallel, rank, sum_over_ranks, wait_for_all, world_size
from course_lib.pretraining.spike_guard import Snapshot, SpikeGuard
from course_lib.pretraining.train_config import TrainConfig
from course_lib.pretraining.train_log import TrainLog

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"
MAX_REWINDS = 10


class Batches(Protocol):
    """A supply of batches with a cursor, as `TokenBatches` is."""

    def next_batch(self) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Trainer:
    """Trains a model that gives logits [B, T, V] for ids [B, T] on batches (inputs, targets), as `cfg` says.

    `evaluation` is a list of batches, or a function that returns them anew each time. `run` trains; `resume` first
    reads the checkpoint in the folder, if there is one. 2 k steps in one go and k steps, a kill, `resume`, and k more
    give the same weights, to the last bit on a CPU. `log.records` and the file ``log.jsonl`` in the folder hold one
    record a step: "step", "loss" (mean over its tokens, in nats), "lr", "grad_norm" (before clipping), "tokens" and
    "seconds" since the start; further records with "val_loss", and with "spike_at" where a spike at that step made the
    run go back. Torch's random stream is set from the seed.
    Under torchrun each process holds a Trainer, `batches` of its rank, and the same model; see `ddp`.

    >>> from course_lib.attention import GPT, GPTConfig
    >>> from course_lib.pretraining import TokenBatches
    >>> batches = TokenBatches(torch.arange(400) % 7, batch_size=4, T=8)
    >>> trainer = Trainer(GPT(GPTConfig(7, 8, 1, 2, 16)), batches, TrainConfig(steps=60, lr=1e-2, progress=False))
    >>> losses = trainer.run().column("loss")
    >>> bool(losses[-1] < 0.5 < losses[0])
    True
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        cfg: TrainConfig,
        evaluation: list[Batch] | Callable[[], Iterable[Batch]] | None = None,
    ):
        self.model, self.batches, self.cfg, self.evaluation = model, batches, cfg, evaluation
        self.device = next(model.parameters()).device
        self.folder = None if cfg.folder is None else Path(cfg.folder)
        self.log = TrainLog(self.folder / LOG if self.folder and rank() == 0 else None)
        groups = decay_groups(model, cfg.wd, key="weight_decay")
        # The same numbers as this package's AdamW, in one pass over the memory instead of ten.
        self.optimizer = torch.optim.AdamW(groups, lr=cfg.lr, betas=cfg.betas, fused=True)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        backend = "inductor" if cfg.compile is True else cfg.compile
        self.compiled = torch.compile(model, backend=backend) if backend else model
        self.runner = data_parallel(self.compiled)
        self.guard = SpikeGuard() if cfg.guard_every else None
        self.step = self.tokens = 0
        self.seconds = 0.0

    def run(self, until: int | None = None) -> TrainLog:
        """Train up to step `until`, or to the end, and return the log.

        ValueError if the folder has a checkpoint and nothing was resumed: it would be overwritten.
        FloatingPointError, before the weights are touched, if loss or gradients are not finite and there is no guard.
        """
        until = self.cfg.steps if until is None else min(until, self.cfg.steps)
        if self.step == 0:
            self._begin()
        was_training = self.model.training
        self.runner.train()
        started, before = time.perf_counter(), self.seconds
        good = pending = self._snapshot() if self.guard else None
        rewinds = 0
        bar = tqdm(total=until, initial=self.step, desc="training", disable=not self.cfg.progress or rank() > 0)
        try:
            with bar:
                while self.step < until:
                    if self.guard and self.step % self.cfg.guard_every == 0 and self.step != pending.step:
                        pending = self._snapshot()
                    record = self._train_step()
                    if record is None:
                        rewinds += 1
                        if rewinds > MAX_REWINDS:
                            raise RuntimeError(f"the loss still spikes after {MAX_REWINDS} returns to step {good.step}")
                        spike_at, pending = self.step, good
                        self._restore(good)
                        self.log.add({"step": self.step, "spike_at": spike_at})
                    else:
                        if pending is not good:  # a loss computed with it was no spike
                            good, rewinds = pending, 0
                        self.seconds = before + time.perf_counter() - started
                        self.log.add(record | {"seconds": round(self.seconds, 3)})
                        self._evaluate_and_save(until)
                        bar.set_postfix_str(f"loss {record['loss']:.3f}", refresh=False)
                    bar.update(self.step - bar.n)
        finally:
            self.runner.train(was_training)
        return self.log

    def _train_step(self) -> dict[str, Any] | None:
        """One update of the weights; its record, or None if the guard has seen a spike."""
        cfg, lr = self.cfg, self.cfg.rate(self.step)
        batches = [self.batches.next_batch() for _ in range(cfg.accumulation)]
        (tokens,) = sum_over_ranks(count_targets(batches), device=self.device)
        self.optimizer.zero_grad()
        # Data parallelism takes the mean of the gradients; the world size makes it a sum again, which the
        # token count of all ranks has already divided.
        loss_sum = backward_by_tokens(self.runner, batches, int(tokens), world_size(), self._loss_sum)
        norm = clip_grad_norm_(self.parameters, cfg.clip) if cfg.clip else self._norm()
        (loss_sum,) = sum_over_ranks(loss_sum.item(), device=self.device)
        loss, norm = loss_sum / tokens, norm.item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            if self.guard is None:
                raise FloatingPointError(f"loss {loss} and gradient norm {norm} at step {self.step}; weights untouched")
            loss = math.inf
        if self.guard and self.guard.observe(loss):
            return None
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.step += 1
        self.tokens += int(tokens)
        return {"step": self.step, "loss": loss, "lr": lr, "grad_norm": norm, "tokens": self.tokens}

    def _norm(self) -> Tensor:
        return global_norm([p.grad for p in self.parameters if p.grad is not None])

    def _loss_sum(self, model: nn.Module, *batch: Any) -> Tensor:
        # The parameters stay float32: they are the master weights, of which autocast rounds copies for the products.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.cfg.precision == "bf16"):
            return token_loss_sum(model, *batch)

    @torch.no_grad()
    def evaluate(self) -> float:
        """Return the mean loss over all targets of the evaluation batches, in nats; ValueError if there are none."""
        batches = self.evaluation() if callable(self.evaluation) else self.evaluation or ()
        was_training = self.compiled.training
        self.compiled.eval()
        try:
            total, count = 0.0, 0
            for batch in islice(batches, rank(), None, world_size()):  # each process takes its share
                batch = [x if x is None else x.to(self.device) for x in batch]
                total += self._loss_sum(self.compiled, *batch).double().item()
                count += count_targets([batch])
        finally:
            self.compiled.train(was_training)
        total, count = sum_over_ranks(total, count, device=self.device)
        if not count:
            raise ValueError("evaluation: expected batches with at least one target, got none")
        return total / count

    def resume(self) -> bool:
        """Go back to the checkpoint in the folder, log included, and return True; False if there is none."""
        if self.folder is None or not (self.folder / CHECKPOINT).is_file():
            return False
        state = load_checkpoint(self.folder / CHECKPOINT, self.model, self.optimizer)
        self.step = state["step"]
        self.tokens, self.seconds = state["extra"]["tokens"], state["extra"]["seconds"]
        self.batches.load_state_dict(state["cursor"])
        if self.guard:
            self.guard.history.extend(state["extra"]["history"])
        if rank() > 0:  # the file has the random states of rank 0, and the ranks' dropout should differ
            torch.manual_seed(self.cfg.seed + rank() + world_size() * self.step)
        self.log.rewind(self.step, read=True)
        return True

    def save(self) -> None:
        """Write the checkpoint; ValueError without a folder."""
        if self.folder is None:
            raise ValueError("folder: expected one in the configuration, got None")
        if rank() == 0:
            history = list(self.guard.history) if self.guard else []
            extra = {"tokens": self.tokens, "seconds": self.seconds, "history": history}
            cursor = self.batches.state_dict()
            save_checkpoint(self.folder / CHECKPOINT, self.model, self.optimizer, self.step, cursor, extra)
        wait_for_all()

    def _begin(self) -> None:
        if self.folder and (self.folder / CHECKPOINT).exists():
            raise ValueError(f"folder: expected one without a checkpoint, or a call of resume(), got {self.folder}")
        wait_for_all()  # or a fast rank 0 might have saved before another has looked
        self.log.rewind(0)
        torch.manual_seed(self.cfg.seed + rank())

    def _evaluate_and_save(self, until: int) -> None:
        def due(every: int) -> bool:
            return self.step == until or (every > 0 and self.step % every == 0)

        if self.evaluation is not None and due(self.cfg.eval_every):
            self.log.add({"step": self.step, "val_loss": self.evaluate()})
        if self.folder and due(self.cfg.checkpoint_every):
            self.save()

    def _snapshot(self) -> Snapshot:
        parts = (self.model.state_dict(), self.optimizer.state_dict(), random_state(), self.tokens)
        return Snapshot(self.step, copy.deepcopy(parts))

    def _restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot; the cursor stays where it is, so that other data follow."""
        model, optimizer, random_states, self.tokens = copy.deepcopy(snapshot.state)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        set_random_state(*random_states)
        self.step = snapshot.step
        self.log.rewind(self.step)
