"""Hidden checks of exercise 4, and other ways to solve it."""

from __future__ import annotations

import math

import torch
from torch import nn

from autograder.compare import close
from autograder.exercise import check, variant
from autograder.exercises.attention import multi_head as public
from autograder.exercises.attention.multi_head import draw_weights, layer, layer_output, matches
from autograder.rng import Rng
from autograder.student import Student


def copied(weights: dict[str, torch.Tensor], D: int, times: int) -> dict[str, torch.Tensor]:
    """The weights of a layer without shared heads that computes the same: every key and value head is written out."""
    out = dict(weights)
    for name in ("k_proj.weight", "v_proj.weight"):
        out[name] = torch.cat([head for head in weights[name].split(D) for _ in range(times)])
    return out


class MultiHeadAttention(public.MultiHeadAttention):
    @check(points=2, hint="A layer with shared key heads equals one without whose key and value heads are copies.")
    def shared_heads_equal_copied_heads(self, student: Student, rng: Rng) -> None:
        for n_heads, n_kv_heads in ((4, 2), (6, 3), (6, 2)):
            D, T = rng.randint(3, 5), rng.randint(5, 9)
            C = n_heads * D
            weights, x = draw_weights(rng, C, n_heads, n_kv_heads), rng.normal(2, T, C)
            mask = torch.ones(T, T, dtype=torch.bool).tril()
            shared = layer(student, C, n_heads, n_kv_heads, weights)(x, mask)
            what = f"a layer with {n_heads} query heads and {n_kv_heads} key heads"
            matches(shared, layer_output(weights, x, n_heads, n_kv_heads, mask), what)
            full = layer(student, C, n_heads, n_heads, copied(weights, D, n_heads // n_kv_heads))(x, mask)
            close(shared, full, 1e-3, 1e-4, what=what + ", held against one with copied heads,", dtype=False)

    @check(hint="Try a single head, a single key head for all (multi-query attention), one position, one text.")
    def extreme_sizes_work(self, student: Student, rng: Rng) -> None:
        for B, T, n_heads, n_kv_heads in ((1, 6, 5, 1), (2, 5, 1, 1), (3, 1, 4, 2)):
            C = n_heads * rng.randint(2, 5)
            weights, x = draw_weights(rng, C, n_heads, n_kv_heads), rng.normal(B, T, C)
            got = layer(student, C, n_heads, n_kv_heads, weights)(x)
            what = f"a layer with {n_heads} query heads and {n_kv_heads} key heads on {B} x {T} positions"
            matches(got, layer_output(weights, x, n_heads, n_kv_heads), what)

    @check(hint="With a causal mask, another last token changes the last output and none before it.")
    def nothing_leaks_from_the_future(self, student: Student, rng: Rng) -> None:
        T, cut = 8, rng.randint(3, 6)
        weights, x = draw_weights(rng, 12, 4, 2), rng.normal(2, T, 12)
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        built = layer(student, 12, 4, 2, weights)
        before = built(x, mask)
        matches(before, layer_output(weights, x, 4, 2, mask), "a layer with a causal mask")
        changed = x.clone()
        changed[:, cut:] += 1
        after = built(changed, mask)
        matches(after, layer_output(weights, changed, 4, 2, mask), "the same layer on changed tokens")
        close(after[:, :cut], before[:, :cut], 1e-5, 1e-6, what=f"the output before token {cut}, which was changed,")

    @check(hint="Build on torch's operations throughout: a gradient has to find its way to x through q, k and v.")
    def gradients_flow_through_all_three_ways(self, student: Student, rng: Rng) -> None:
        T = rng.randint(4, 6)
        weights, x, upstream = draw_weights(rng, 12, 3, 3), rng.normal(2, T, 12), rng.normal(2, T, 12)
        built = layer(student, 12, 3, 3, weights)
        matches(built(x), layer_output(weights, x, 3, 3), "a layer with 3 heads")
        _, (grad,) = built.gradient(x, wrt=[0], upstream=upstream)
        start = x.double().requires_grad_()
        (layer_output(weights, start, 3, 3) * upstream).sum().backward()
        close(grad, start.grad, 2e-3, 1e-3, what="the gradient of x", dtype=False)

    @variant
    class ByEinsum:
        """Weights seen as [heads, D, C]; nothing is transposed."""

        def repeat_kv(x, n_rep):
            B, G, T, D = x.shape
            return x[:, :, None].expand(B, G, n_rep, T, D).reshape(B, G * n_rep, T, D)

        class MultiHeadAttention(nn.Module):
            def __init__(self, d_model, n_heads, n_kv_heads=None):
                super().__init__()
                self.D, self.G = d_model // n_heads, n_kv_heads or n_heads
                self.q_proj = nn.Linear(d_model, d_model, bias=False)
                self.k_proj = nn.Linear(d_model, self.G * self.D, bias=False)
                self.v_proj = nn.Linear(d_model, self.G * self.D, bias=False)
                self.o_proj = nn.Linear(d_model, d_model, bias=False)

            def forward(self, x, mask=None):
                k, v = (p.weight.unflatten(0, (self.G, self.D)) for p in (self.k_proj, self.v_proj))
                q = self.q_proj.weight.unflatten(0, (self.G, -1, self.D))
                k, v = (torch.einsum("bsc,gdc->bgsd", x, w) for w in (k, v))
                scores = torch.einsum("btc,grdc,bgsd->bgrts", x, q, k) / math.sqrt(self.D)
                if mask is not None:
                    scores = scores.masked_fill(~mask, -torch.inf)
                out = torch.einsum("bgrts,bgsd->btgrd", scores.softmax(-1), v)
                return self.o_proj(out.flatten(2))

    @variant
    class HeadByHead:
        """A loop over heads; slices of the projections, joined at the end; a causal mask kept as a buffer."""

        def repeat_kv(x, n_rep):
            return torch.stack([x[:, head] for head in range(x.shape[1]) for _ in range(n_rep)], dim=1)

        class MultiHeadAttention(nn.Module):
            def __init__(self, d_model, n_heads, n_kv_heads):
                super().__init__()
                self.n_heads, self.n_kv_heads, self.d_head = n_heads, n_kv_heads, d_model // n_heads
                width = n_kv_heads * self.d_head
                for name, rows in (("q_proj", d_model), ("k_proj", width), ("v_proj", width), ("o_proj", d_model)):
                    self.add_module(name, nn.Linear(d_model, rows, bias=False))
                self.register_buffer("everything", torch.ones(1, 1, dtype=torch.bool))

            def forward(self, x, mask=None):
                q = self.q_proj(x).split(self.d_head, dim=-1)
                k, v = self.k_proj(x).split(self.d_head, dim=-1), self.v_proj(x).split(self.d_head, dim=-1)
                mask = self.everything if mask is None else mask
                heads = []
                for h in range(self.n_heads):
                    shared = h // (self.n_heads // self.n_kv_heads)
                    scores = q[h] @ k[shared].mT * self.d_head**-0.5
                    weights = torch.where(mask, scores, torch.tensor(-1e30)).softmax(dim=-1)
                    heads.append(weights @ v[shared])
                return self.o_proj(torch.cat(heads, dim=-1))

    @variant
    class TextsAndHeadsInOneDimension:
        def repeat_kv(x, n_rep):
            return x[:, torch.arange(x.size(1) * n_rep) // n_rep]

        class MultiHeadAttention(nn.Module):
            def __init__(self, d_model, n_heads, n_kv_heads=None, bias=False):
                super().__init__()
                self.heads = n_heads
                self.groups = n_kv_heads if n_kv_heads else n_heads
                width = d_model // n_heads * self.groups
                self.q_proj, self.o_proj = (nn.Linear(d_model, d_model, bias=bias) for _ in range(2))
                self.k_proj, self.v_proj = (nn.Linear(d_model, width, bias=bias) for _ in range(2))

            def forward(self, x, mask=None):
                batch, length, width = x.shape

                def apart(y, heads, times=1):
                    y = y.reshape(batch, length, heads, -1).permute(0, 2, 1, 3).contiguous()
                    index = torch.repeat_interleave(torch.arange(heads), times)
                    return y.index_select(1, index).view(batch * self.heads, length, -1)

                times = self.heads // self.groups
                q = apart(self.q_proj(x), self.heads)
                k, v = apart(self.k_proj(x), self.groups, times), apart(self.v_proj(x), self.groups, times)
                scores = torch.bmm(q, k.transpose(1, 2)) / (width / self.heads) ** 0.5
                if mask is not None:
                    scores = scores + torch.where(mask, 0.0, -torch.inf)
                out = torch.bmm(torch.softmax(scores, dim=2), v)
                return self.o_proj(out.view(batch, self.heads, length, -1).permute(0, 2, 1, 3).reshape(x.shape))
