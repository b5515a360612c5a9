"""What the tests of both tiers of FlashAttention compare with: torch's attention in its plain form, in float64."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel


def oracle(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    q, k, v = (x.double() if x.dtype != torch.float64 else x for x in (q, k, v))
    T, S = q.shape[-2], k.shape[-2]
    # Bottom-right: the last query sees the last key. Rows without any key see all of them here, and are cut out after.
    mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril(S - T) if causal else None
    blind = torch.zeros(T, dtype=torch.bool, device=q.device) if mask is None else ~mask.any(-1)
    with sdpa_kernel(SDPBackend.MATH):
        seen = None if mask is None else mask | blind[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=q.ndim > 2)
    return out.masked_fill(blind[:, None], 0.0)


def draw(
    *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0, device: str = "cpu"
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [x.to(device, dtype).requires_grad_() for x in made]


def assert_same(function, q: Tensor, k: Tensor, v: Tensor, causal: bool, atol: float = 1e-10) -> None:
    """The function's output and gradients are those of the oracle on the very same (rounded) numbers."""
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    want = oracle(*wide, causal)
    got = function(q, k, v)
    assert got.dtype == q.dtype and got.shape == want.shape and got.device == q.device
    torch.testing.assert_close(got.double(), want, rtol=0, atol=atol)
    upstream = torch.linspace(-1, 1, want.numel(), dtype=torch.float64, device=q.device).reshape(want.shape).to(q.dtype)
    wanted = torch.autograd.grad(want, wide, upstream.double())
    for name, x, grad in zip("qkv", wanted, torch.autograd.grad(got, (q, k, v), upstream), strict=True):
        torch.testing.assert_close(grad.double(), x, rtol=0, atol=4 * atol, msg=lambda m, n=name: f"d{n}: {m}")
