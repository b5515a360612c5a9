"""One configuration for GPT-2, Llama and what lies between them."""

from dataclasses import dataclass, fields
from typing import Any

from course_lib.attention._arguments import require_int
from course_lib.attention.mlp import swiglu_width

NORMS = ("layer", "rms")
MLPS = ("gelu", "swiglu")
POSITIONS = ("learned", "sinusoidal", "rope", "alibi", "none")


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a decoder; the defaults are GPT-2's choices. ValueError names a field that cannot be.

    `n_kv_heads` is `n_heads` unless given; fewer make grouped-query attention. `head_dim` is d_model / n_heads unless
    given. `d_ff` is 4 d_model for "gelu" and 8/3 d_model for "swiglu", rounded up to a multiple of 8, so that three
    matrices have about the parameters of two. `bias` says whether linear layers and LayerNorms have one; an RMSNorm
    and the head never do. `window` > 0 lets a token see only so many tokens, itself included. `pre` puts the norms
    before the sublayers and one more at the end; without it they stand behind the sublayers, and there is no last one.
    `attention_only` leaves out the MLPs. `dropout` acts in training, on the embeddings and on what a sublayer adds.

    >>> GPTConfig.gpt2().d_model, GPTConfig(65, 64, 4, 4, 128).d_ff
    (768, 512)
    """

    vocab_size: int
    context_length: int
    n_layers: int
    n_heads: int
    d_model: int
    n_kv_heads: int | None = None
    head_dim: int | None = None
    d_ff: int | None = None
    norm: str = "layer"
    mlp: str = "gelu"
    positions: str = "learned"
    rope_base: float = 10000.0
    bias: bool = True
    tied: bool = True
    pre: bool = True
    window: int = 0
    dropout: float = 0.0
    norm_eps: float = 1e-5
    attention_only: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "n_heads", "d_model"):
            require_int(name, getattr(self, name), 1)
        require_int("n_layers", self.n_layers, 0)
        require_int("window", self.window, 0)
        for name, allowed in (("norm", NORMS), ("mlp", MLPS), ("positions", POSITIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected a number from 0 up to, but not, 1, got {self.dropout!r}")
        for name in ("rope_base", "norm_eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)!r}")
        if self.n_kv_heads is None:
            self._fill("n_kv_heads", self.n_heads)
        if self.n_heads % require_int("n_kv_heads", self.n_kv_heads, 1):
            raise ValueError(f"n_kv_heads: expected a divisor of n_heads = {self.n_heads}, got {self.n_kv_heads}")
        if self.head_dim is None:
            if self.d_model % self.n_heads:
                raise ValueError(f"d_model: expected a multiple of n_heads = {self.n_heads}, got {self.d_model}")
            self._fill("head_dim", self.d_model // self.n_heads)
        require_int("head_dim", self.head_dim, 1)
        if self.positions == "rope" and self.head_dim % 2:
            raise ValueError(f"head_dim: expected an even number for rope, which turns pairs, got {self.head_dim}")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"d_model: expected an even number for sinusoidal positions, got {self.d_model}")
        if self.d_ff is None:
            self._fill("d_ff", 4 * self.d_model if self.mlp == "gelu" else swiglu_width(self.d_model, 8))
        require_int("d_ff", self.d_ff, 1)

    def _fill(self, name: str, value: int) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen; None was only a way to say "the usual"

    @classmethod
    def of(cls, cfg: Any) -> "GPTConfig":
        """Return `cfg` as a GPTConfig: any object with the five sizes as attributes, the others where it has them.

        >>> from types import SimpleNamespace
        >>> GPTConfig.of(SimpleNamespace(vocab_size=9, context_length=8, n_layers=1, n_heads=2, d_model=4)).d_ff
        16
        """
        if isinstance(cfg, cls):
            return cfg
        missing = [f.name for f in fields(cls)[:5] if not hasattr(cfg, f.name)]
        if missing:
            raise ValueError(f"cfg: expected an object with the attribute {missing[0]}, got {type(cfg).__name__}")
        return cls(**{f.name: getattr(cfg, f.name) for f in fields(cls) if hasattr(cfg, f.name)})

    @classmethod
    def gpt2(cls, **changes: Any) -> "GPTConfig":
        """Return the smallest GPT-2, 124M parameters (117M in Radford et al. 2019, table 2), with `changes`."""
        return cls(
            **{"vocab_size": 50257, "context_length": 1024, "n_layers": 12, "n_heads": 12, "d_model": 768} | changes
        )

    @classmethod
    def llama(cls, **changes: Any) -> "GPTConfig":
        """Return Llama 2 7B (Touvron et al. 2023), with `changes`: RMSNorm, SwiGLU, RoPE, no biases, not tied.

        >>> GPTConfig.llama(n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, d_ff=None).d_ff
        176
        """
        sizes = {"vocab_size": 32000, "context_length": 4096, "n_layers": 32, "n_heads": 32, "d_model": 4096}
        style = {"norm": "rms", "mlp": "swiglu", "positions": "rope", "bias": False, "tied": False}
        return cls(**sizes | style | {"d_ff": 11008} | changes)
