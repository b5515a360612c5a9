"""The settings of a training run."""

from dataclasses import dataclass
from pathlib import Path

from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.schedules import COOLDOWNS, lr_at, wsd_at

SCHEDULES = ("cosine", "wsd", "constant")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class TrainConfig:
    """How to train; ValueError names a setting that cannot be.

    `steps` updates of the weights, each from the gradients of `accumulation` batches. The learning rate goes up to `lr`
    in `warmup` steps and down to `floor` (a tenth of `lr` unless given) as `schedule` says: "cosine" is `lr_at`, "wsd"
    is `wsd_at` with `cooldown` and `cooldown_shape`, "constant" stays up. `wd` is AdamW's decay of matrices, `clip` the
    largest norm of all gradients, None for none. "bf16" as `precision` computes in bfloat16 and keeps the weights in
    float32. `compile` is True for torch.compile, or the name of a backend for it. `eval_every` and `checkpoint_every`
    count steps, 0 means only at the end; `folder` takes log and checkpoints, None for neither. With `guard_every` > 0
    a state is kept in memory every so many steps, and a loss spike goes back to it.

    >>> TrainConfig(steps=11, lr=1.0, warmup=1).rate(0), TrainConfig(steps=11, lr=1.0).rate(10)
    (0.5, 0.1)
    """

    steps: int
    lr: float = 1e-3
    warmup: int = 0
    schedule: str = "cosine"
    floor: float | None = None
    cooldown: int | None = None
    cooldown_shape: str = "1-sqrt"
    accumulation: int = 1
    wd: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float | None = 1.0
    precision: str = "fp32"
    compile: bool | str = False
    eval_every: int = 0
    checkpoint_every: int = 0
    guard_every: int = 0
    folder: str | Path | None = None
    seed: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        for name, low in (("steps", 1), ("warmup", 0), ("accumulation", 1), ("eval_every", 0), ("seed", 0)):
            require_int(name, getattr(self, name), low)
        for name in ("checkpoint_every", "guard_every"):
            require_int(name, getattr(self, name), 0)
        choices = (("schedule", SCHEDULES), ("precision", PRECISIONS), ("cooldown_shape", COOLDOWNS))
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not self.wd >= 0:
            raise ValueError(f"wd: expected a non-negative number, got {self.wd!r}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip: expected a positive number or None, got {self.clip!r}")
        if not isinstance(self.lr, int | float) or not self.lr > 0:
            raise ValueError(f"lr: expected a positive number, got {self.lr!r}")
        self.rate(0)  # says so before the first step if the schedule cannot be

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if self.schedule == "constant":
            return lr_at(min(step, self.warmup), self.warmup, self.steps, self.lr, self.lr)
        floor = self.lr / 10 if self.floor is None else self.floor
        if self.schedule == "wsd":
            return wsd_at(step, self.warmup, self.steps, self.lr, floor, self.cooldown, self.cooldown_shape)
        return lr_at(step, self.warmup, self.steps, self.lr, floor)
