"""What a training run costs: operations, memory, and the share of a device's peak that is put to use."""

import re

from course_lib.pretraining._arguments import require_int

# Peak of dense matrix products in 16 bits with 32-bit sums, in FLOP/s: bfloat16 where the device has it, else float16
# (V100, T4). Data sheets print twice as much "with sparsity", which training does not have. Looked for in this order.
PEAK_FLOPS: dict[str, float] = {
    "H200": 989e12,  # NVIDIA H200 data sheet, SXM (1,979 with sparsity)
    "H100 PCIe": 756e12,  # NVIDIA H100 data sheet, PCIe (1,513 with sparsity)
    "H100": 989e12,  # NVIDIA H100 data sheet, SXM (1,979 with sparsity)
    "A100": 312e12,  # NVIDIA A100 data sheet
    "A10": 125e12,  # NVIDIA A10 data sheet
    "L40S": 362e12,  # NVIDIA L40S data sheet
    "L4": 121e12,  # NVIDIA L4 data sheet (242 with sparsity)
    "V100": 125e12,  # NVIDIA V100 data sheet, SXM2, float16
    "T4": 65e12,  # NVIDIA T4 data sheet, float16
    "RTX 4090": 165e12,  # NVIDIA Ada architecture white paper, bfloat16 with float32 sums
    "RTX 3090": 71e12,  # NVIDIA GA102 architecture white paper, bfloat16 with float32 sums
    "TPU v4": 275e12,  # Jouppi et al. 2023
}

# Bytes a parameter while training: weight, gradient, float32 master weight, optimiser's state.
MEMORY = {
    "adam": {"weights": 2, "gradients": 2, "master": 4, "moments": 8},
    "adam-fp32": {"weights": 4, "gradients": 4, "master": 0, "moments": 8},
    "momentum-fp32": {"weights": 4, "gradients": 4, "master": 0, "moments": 4},
    "sgd-fp32": {"weights": 4, "gradients": 4, "master": 0, "moments": 0},
}


def train_flops(N: float, D: float) -> float:
    """Return the operations of training N parameters on D tokens, about 6 N D.

    Each parameter takes part in a multiplication and an addition for each token: 2 forwards, and twice as many
    backwards, for the gradients of inputs and of weights. Attention over the context comes on top, see
    `train_flops_per_token`. ValueError for negative numbers. Source: Kaplan et al. 2020, section 2.1.

    >>> f"{train_flops(175e9, 300e9):.3g}"  # GPT-3
    '3.15e+23'
    """
    _require_positive(N=N, D=D)
    return 6 * N * D


def train_flops_per_token(N: float, L: int = 0, H: int = 0, Q: int = 0, T: int = 0) -> float:
    """Return the operations of training per token, 6 N + 12 L H Q T: layers, heads, their width, tokens of context.

    The second term are the products of queries with keys and of weights with values, over all T keys: a causal kernel
    that skips the hidden half does half of it. Source: Chowdhery et al. 2022, appendix B.

    >>> train_flops_per_token(1e6, L=2, H=4, Q=16, T=128)
    6196608.0
    """
    _require_positive(N=N)
    for name, value in (("L", L), ("H", H), ("Q", Q), ("T", T)):
        require_int(name, value, 0)
    return 6 * N + 12 * L * H * Q * T


def mfu(N: float, tokens_per_s: float, peak: float, L: int = 0, H: int = 0, Q: int = 0, T: int = 0) -> float:
    """Return the model FLOP/s utilisation: the operations that the model needs a second, as a share of `peak`.

    `peak` is in FLOP/s, of all devices together; `tokens_per_s` of all of them, too. Operations that are done twice to
    save memory do not count: only what the model asks for does. The other arguments are those of
    `train_flops_per_token`; without them attention is left out. Source: Chowdhery et al. 2022, section 4.1, appendix B.

    >>> round(mfu(540.35e9, 238.3e3, 6144 * 275e12, L=118, H=48, Q=256, T=2048), 3)  # PaLM on 6,144 chips of TPU v4
    0.462
    """
    _require_positive(tokens_per_s=tokens_per_s)
    if not peak > 0:
        raise ValueError(f"peak: expected a positive number of FLOP/s, got {peak!r}")
    return train_flops_per_token(N, L, H, Q, T) * tokens_per_s / peak


def peak_flops(device: str) -> float:
    """Return the peak of one device in FLOP/s from its name, as ``torch.cuda.get_device_name()`` gives it.

    From `PEAK_FLOPS`, which names the sources. ValueError for a device that is not in the table.

    >>> peak_flops("NVIDIA A100-SXM4-80GB")
    312000000000000.0
    """
    for name, peak in PEAK_FLOPS.items():
        # All words of the name, each as a whole: "L4" is no "L40S", "A10" no "A100" and no "A10G".
        if all(re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", device, re.I) for word in name.split()):
            return peak
    raise ValueError(f"device: expected a name with one of {', '.join(PEAK_FLOPS)}, got {device!r}")


def train_memory_bytes(N: int, optimizer: str = "adam") -> dict[str, int]:
    """Return the bytes that N parameters need while they are trained, by use, and their "total"; no activations.

    "adam" is mixed precision: weights and gradients in 16 bits, master weights and both moments in 32, 16 bytes for
    each parameter. "adam-fp32" has everything in 32 bits, which are 16 bytes as well; "momentum-fp32" and "sgd-fp32"
    need less state. ValueError for another name. Source: Rajbhandari et al. 2020, section 3.1.

    >>> train_memory_bytes(7_000_000_000)["total"] / 1e9  # in gigabytes
    112.0
    """
    require_int("N", N, 0)
    if optimizer not in MEMORY:
        raise ValueError(f"optimizer: expected one of {', '.join(MEMORY)}, got {optimizer!r}")
    parts = {name: size * N for name, size in MEMORY[optimizer].items()}
    return parts | {"total": sum(parts.values())}


def activation_bytes(B: int, T: int, C: int, L: int, H: int, tiled_attention: bool = False) -> int:
    """Return the bytes of activations that L layers keep for the backward pass, in 16 bits, B rows of T tokens.

    B T C L (34 + 5 H T / C): the last term are the T x T weights of attention, which a tiled kernel does not keep. For
    GPT layers with an MLP four times as wide as C and dropout, nothing computed twice, on one device; the embedding,
    the last norm and the logits come on top. Source: Korthikanti et al. 2023, equation 1.

    >>> activation_bytes(1, 1024, 768, 12, 12), activation_bytes(1, 1024, 768, 12, 12, tiled_attention=True)
    (1075838976, 320864256)
    """
    for name, value in (("B", B), ("T", T), ("C", C), ("L", L), ("H", H)):
        require_int(name, value, 0)
    return 34 * B * T * C * L + (0 if tiled_attention else 5 * B * H * T * T * L)


def _require_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value >= 0:
            raise ValueError(f"{name}: expected a non-negative number, got {value!r}")
