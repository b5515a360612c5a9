"""One dial for a pretraining run: from the depth follow all sizes, and each of them may be set by hand."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from course_lib.attention import GPTConfig, count_params
from course_lib.attention.mlp import swiglu_width
from course_lib.pretraining._arguments import require_int
from course_lib.pretraining.train_config import TrainConfig

HEAD_WIDTH = 64
TOKENS_PER_PARAMETER = 20


@dataclass(frozen=True)
class Recipe:
    """The sizes of a model and of its training; make one with `recipe`.

    `batch` counts rows of `context` tokens in one update of the weights, `tokens` all tokens that are read, with
    repetition. The learning rate goes up in `warmup` steps, stays at `lr`, and goes down to zero over the last fifth.
    """

    depth: int
    width: int
    heads: int
    kv_heads: int
    mlp_width: int
    vocab: int
    context: int
    batch: int
    lr: float
    tokens: int

    @property
    def steps(self) -> int:
        """How many updates of the weights it takes to read all tokens."""
        return max(1, round(self.tokens / (self.batch * self.context)))

    def gpt_config(self) -> GPTConfig:
        """Return the model: a Llama whose head is its embedding table."""
        return GPTConfig.llama(
            vocab_size=self.vocab,
            context_length=self.context,
            n_layers=self.depth,
            n_heads=self.heads,
            n_kv_heads=self.kv_heads,
            d_model=self.width,
            d_ff=self.mlp_width,
            tied=True,
        )

    def train_config(self, **more: Any) -> TrainConfig:
        """Return the training settings: WSD down to zero, AdamW with decay 0.1, clipping at 1; and `more` of them."""
        steps = self.steps
        usual = {"steps": steps, "lr": self.lr, "warmup": min(200, steps // 10), "schedule": "wsd", "floor": 0.0}
        return TrainConfig(**usual | more)


def recipe(depth: int, **chosen: Any) -> Recipe:
    """Return the recipe for a model of `depth` layers; `chosen` sizes that are not None take the place of the rule's.

    - width: 64 per layer, so that deeper models are wider in proportion; one head per 64 of the width;
    - kv_heads: the largest divisor of the heads that is at most half of them (Ainslie et al. 2023: grouped queries);
    - mlp_width: 8/3 of the width, rounded up to a multiple of 8 (Shazeer 2020, section 2);
    - vocab: 512 per layer, and context: 64 tokens per layer, both rounded up to a power of two; context at least 128;
    - batch: so many rows that an update sees 32 depth^3 tokens (at least 1,024), rounded to a power of two. Parameters
      grow like depth^3, too, so the number of updates stays about the same;
    - lr: 0.768 / width, because the best rate falls about as one over the width under Adam (Yang et al. 2021);
    - tokens: 20 for each parameter (Hoffmann et al. 2022, section 3), the embedding table included.

    ValueError for a depth below 1, an unknown name, and sizes that no model can have.

    >>> r = recipe(4)
    >>> r.width, r.heads, r.kv_heads, r.mlp_width, r.vocab, r.context, r.batch, r.lr
    (256, 4, 2, 688, 2048, 256, 8, 0.003)
    >>> recipe(4, tokens=2048 * 100).steps
    100
    """
    require_int("depth", depth, 1)
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for name, value in chosen.items():
        if name not in Recipe.__dataclass_fields__ or name == "depth":
            raise ValueError(f"chosen: expected some of {', '.join(Recipe.__dataclass_fields__)}, got {name!r}")
        if name == "lr":
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"lr: expected a positive number, got {value!r}")
        else:
            require_int(name, value, 1)
    width = chosen.get("width", HEAD_WIDTH * depth)
    heads = chosen.get("heads", max(1, width // HEAD_WIDTH))
    context = chosen.get("context", max(128, _power_of_two_above(64 * depth)))
    batch_tokens = max(1024, 1 << round(math.log2(32 * depth**3)))
    made = Recipe(
        depth=depth,
        width=width,
        heads=heads,
        kv_heads=chosen.get("kv_heads", _half_divisor(heads)),
        mlp_width=chosen.get("mlp_width", swiglu_width(width, 8)),
        vocab=chosen.get("vocab", _power_of_two_above(512 * depth)),
        context=context,
        batch=chosen.get("batch", max(1, batch_tokens // context)),
        lr=chosen.get("lr", 0.768 / width),
        tokens=1,
    )
    parameters = count_params(made.gpt_config())["total"]  # says what cannot be, such as a width no head divides
    return replace(made, tokens=chosen.get("tokens", TOKENS_PER_PARAMETER * parameters))


def describe(r: Recipe) -> dict[str, Any]:
    """Return all sizes of a recipe, with its steps and parameters, as plain numbers."""
    counts = count_params(r.gpt_config())
    inside = counts["total"] - counts["token_embedding"]
    return asdict(r) | {"steps": r.steps, "parameters": counts["total"], "parameters_without_embedding": inside}


def _power_of_two_above(n: int) -> int:
    return 1 << (n - 1).bit_length()


def _half_divisor(heads: int) -> int:
    return next((k for k in range(heads // 2, 0, -1) if heads % k == 0), 1)
