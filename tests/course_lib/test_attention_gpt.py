"""The decoder as a whole: causal in every setting, initialised as GPT-2, and each setting does what it says."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from course_lib.attention import GPT, GPTConfig, alibi_slopes, apply_rope, rope_freqs, sinusoidal

torch.set_num_threads(1)
SIZES = {"vocab_size": 29, "context_length": 12, "n_layers": 2, "n_heads": 4, "d_model": 16}
STYLES = {
    "gpt2": {},
    "llama": {"norm": "rms", "mlp": "swiglu", "positions": "rope", "bias": False, "tied": False, "n_kv_heads": 2},
    "alibi": {"positions": "alibi", "n_kv_heads": 1},
    "sinusoidal, post-norm": {"positions": "sinusoidal", "pre": False},
    "none, attention only": {"positions": "none", "attention_only": True},
    "window": {"window": 3},
    "window, alibi": {"window": 3, "positions": "alibi"},
    "window, rope, wide heads": {"window": 3, "positions": "rope", "head_dim": 6},
    "post-norm, attention only": {"pre": False, "attention_only": True, "norm": "rms"},
}


@pytest.fixture(params=STYLES, ids=lambda name: name)
def model(request):
    return make(**STYLES[request.param])


def make(**changes):
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SIZES | changes))
    with torch.no_grad():  # larger weights than at the start: attention that is far from uniform
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(15)
            elif "norm" not in name:
                parameter.normal_(0, 0.3)
    return model.eval()


def sees(model, T=10):
    """[T, T], True where the logits at i (row) depend on the token at j, asked by changing that token."""
    ids = torch.arange(T)[None]
    with torch.no_grad():
        before = model(ids)
        rows = [(model(ids.index_fill(1, torch.tensor(j), 20)) - before).abs().amax(-1)[0] for j in range(T)]
    return torch.stack(rows, 1) > 1e-6


def test_every_token_sees_the_past_and_nothing_else(model):
    T = 10
    far = torch.arange(T)[:, None] - torch.arange(T)
    # Two layers of a window of 3 reach back 2 + 2 tokens.
    want = (far >= 0) & (far <= 4) if model.cfg.window else far >= 0
    assert torch.equal(sees(model), want)


@pytest.mark.parametrize("how", [{}, {"is_causal": False}, {"mask": torch.ones(10, 10, dtype=torch.bool).tril(1)}])
def test_a_model_that_looks_ahead_is_found_out(how, monkeypatch):
    model = make()
    monkeypatch.setattr(model, "_attend_how", lambda T, x, mask: how)
    assert sees(model).triu(1).any()


def test_shapes_losses_and_gradients(model):
    ids = torch.randint(29, (3, 12), generator=torch.Generator().manual_seed(0))
    targets = ids.roll(-1, 1)
    logits, loss = model(ids), model(ids, targets=targets)
    assert logits.shape == (3, 12, 29) and loss.shape == ()
    picked = logits.log_softmax(-1).gather(2, targets[..., None])
    torch.testing.assert_close(loss, -picked.mean())
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    # Empty targets do not count, wherever they are.
    some = targets.clone()
    some[1, 3:] = some[0, ::2] = -100
    torch.testing.assert_close(model(ids, some), -picked[..., 0][some != -100].mean())


def test_rows_of_a_batch_do_not_see_each_other(model):
    ids = torch.randint(29, (4, 7), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(ids)[2:3], model(ids[2:3]))
    assert model(ids[:0]).shape == (0, 7, 29)


def by_hand(model, ids):
    """One block of attention only, from the formulas, in double precision and without a mask's help."""
    cfg, weight = model.cfg, {name: tensor.double() for name, tensor in model.state_dict().items()}
    T, H, D = len(ids), cfg.n_heads, cfg.head_dim
    x = weight["token_embedding.weight"][ids]
    if cfg.positions == "sinusoidal":
        x = 4 * x + sinusoidal(T, 16).double()
    if cfg.positions == "learned":
        x = x + weight["position_embedding.weight"][:T]
    at = "blocks.0."
    normed = F.layer_norm(x, (16,), weight[at + "norm1.weight"], weight[at + "norm1.bias"], cfg.norm_eps)
    q, k, v = (
        normed @ weight[f"{at}attention.{n}_proj.weight"].T + weight[f"{at}attention.{n}_proj.bias"] for n in "qkv"
    )
    out = torch.zeros(T, H * D, dtype=torch.float64)
    for h in range(H):
        of_h = slice(h * D, (h + 1) * D)
        g = h // (H // cfg.n_kv_heads)
        of_g = slice(g * D, (g + 1) * D)
        qs, ks, vs = q[:, of_h], k[:, of_g], v[:, of_g]
        if cfg.positions == "rope":
            qs, ks = (apply_rope(y, torch.arange(T), rope_freqs(D, cfg.rope_base).double()) for y in (qs, ks))
        for i in range(T):
            first = max(0, i + 1 - cfg.window) if cfg.window else 0
            scores = torch.stack([qs[i] @ ks[j] / math.sqrt(D) for j in range(first, i + 1)])
            if cfg.positions == "alibi":
                scores = scores - alibi_slopes(H)[h] * torch.arange(i - first, -1, -1)
            out[i, of_h] = scores.softmax(0) @ vs[first : i + 1]
    x = x + out @ weight[at + "attention.o_proj.weight"].T + weight[at + "attention.o_proj.bias"]
    x = F.layer_norm(x, (16,), weight["final_norm.weight"], weight["final_norm.bias"], cfg.norm_eps)
    return x @ weight["token_embedding.weight"].T


@pytest.mark.parametrize("window", [0, 4])
@pytest.mark.parametrize("kv", [4, 2])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rope", "alibi", "none"])
def test_one_layer_of_attention_equals_the_formulas(positions, kv, window):
    model = make(positions=positions, n_kv_heads=kv, window=window, n_layers=1, attention_only=True, rope_base=50.0)
    ids = torch.tensor([5, 3, 3, 8, 5, 11, 28, 0, 3])
    torch.testing.assert_close(model(ids[None])[0].double(), by_hand(model, ids), atol=2e-4, rtol=1e-4)


def test_only_positions_tell_the_order_of_the_past():
    ids, shuffled = torch.tensor([[1, 2, 3, 4, 5, 6]]), torch.tensor([[4, 2, 5, 1, 3, 6]])
    for positions in ("none", "learned", "sinusoidal", "rope", "alibi"):
        model = make(positions=positions, n_layers=1)
        same = torch.allclose(model(ids)[0, -1], model(shuffled)[0, -1], atol=1e-4)
        assert same == (positions == "none"), positions


def test_it_starts_with_about_equal_chances_and_calm_additions():
    torch.manual_seed(1)
    cfg = GPTConfig(vocab_size=512, context_length=64, n_layers=8, n_heads=4, d_model=128)
    model = GPT(cfg)
    ids = torch.randint(512, (4, 64))
    assert abs(model(ids, ids.roll(-1, 1)).item() - math.log(512)) < 0.1
    # 16 sublayers add to the residual stream.
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            want = 0.02 / 4 if name.endswith(("o_proj.weight", "down.weight")) else 0.02
            assert abs(parameter.std().item() / want - 1) < 0.05, name
        elif name.endswith("bias"):
            assert not parameter.any()
        else:
            assert (parameter == 1).all()
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), GPT(cfg).parameters(), strict=True))


def test_a_tied_head_is_the_embedding():
    tied, own = make(), make(tied=False)
    assert not any("head" in name for name in tied.state_dict())
    with torch.no_grad():
        tied.token_embedding.weight[7] += 1  # only row 7 of the table, and token 7 is not in the text
        own.token_embedding.weight[7] += 1
    ids = torch.tensor([[1, 2, 3]])
    changed = tied(ids) - make()(ids)
    assert changed[..., 7].abs().min() > 0 and not changed[..., :7].any()
    assert torch.equal(own(ids), make(tied=False)(ids))


def test_dropout_acts_in_training_only():
    model = make(dropout=0.5)
    ids = torch.arange(12)[None]
    assert torch.equal(model(ids), model(ids)) and torch.equal(model(ids), make()(ids))
    model.train()
    assert not torch.equal(model(ids), model(ids))
    assert torch.equal(make().train()(ids), make()(ids))


def test_any_object_with_the_five_sizes_is_a_gpt2():
    torch.manual_seed(0)
    plain = GPT(SimpleNamespace(**SIZES))
    torch.manual_seed(0)
    full = GPT(GPTConfig(**SIZES))
    assert list(plain.state_dict()) == list(full.state_dict())
    assert torch.equal(plain(torch.arange(5)[None]), full(torch.arange(5)[None]))
    assert GPT(SimpleNamespace(**SIZES, positions="rope", unknown=3)).cfg.positions == "rope"
    with pytest.raises(ValueError, match=r"cfg: expected .* n_heads"):
        GPT(SimpleNamespace(vocab_size=3, context_length=3, n_layers=1))


@pytest.mark.parametrize("positions", ["rope", "alibi", "sinusoidal", "none"])
def test_only_learned_positions_end(positions):
    ids = torch.arange(20)[None]
    assert make(positions=positions)(ids).isfinite().all()
    with pytest.raises(ValueError, match="ids: expected at most context_length = 12"):
        make()(ids)


def test_half_precision_keeps_its_dtype_and_loses_in_float32():
    model = make(**STYLES["llama"]).to(torch.bfloat16)
    ids = torch.arange(10)[None]
    assert model(ids).dtype == torch.bfloat16
    loss = model(ids, ids)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(model(ids)[0].float(), ids[0]))
    for name in ("alibi", "window", "sinusoidal, post-norm"):
        assert make(**STYLES[name]).to(torch.bfloat16)(ids).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "ids, message",
    [
        ([[1, 2]], "ids"),
        (torch.tensor([1, 2]), "ids: expected a tensor of shape"),
        (torch.tensor([[1.0]]), "ids"),
        (torch.tensor([[29]]), "ids"),
        (torch.tensor([[-1]]), "ids"),
    ],
)
def test_what_is_not_a_batch_of_ids_is_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        make()(ids)


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"targets: expected the shape of ids, \(1, 3\)"):
        make()(torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2]]))


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"vocab_size": 0}, "vocab_size"),
        ({"n_layers": -1}, "n_layers"),
        ({"n_layers": 1.5}, "n_layers"),
        ({"n_heads": 3}, "d_model"),
        ({"n_kv_heads": 3}, "n_kv_heads"),
        ({"norm": "batch"}, "norm"),
        ({"mlp": "relu"}, "mlp"),
        ({"positions": "rotary"}, "positions"),
        ({"window": -1}, "window"),
        ({"dropout": 1.0}, "dropout"),
        ({"rope_base": 0.0}, "rope_base"),
        ({"norm_eps": -1e-5}, "norm_eps"),
        ({"d_ff": 0}, "d_ff"),
        ({"positions": "rope", "head_dim": 3}, "head_dim"),
        ({"positions": "sinusoidal", "d_model": 12, "n_heads": 4, "head_dim": 3, "vocab_size": 0}, "vocab_size"),
        ({"positions": "sinusoidal", "d_model": 15, "n_heads": 5}, "d_model"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_name(changes, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        GPTConfig(**SIZES | changes)


def test_a_mask_of_ones_own_takes_the_place_of_the_causal_one():
    prefix = torch.arange(6)[:, None] >= torch.arange(6)
    prefix[:, :3] = True
    documents = torch.block_diag(torch.ones(2, 2), torch.ones(4, 4)).bool() & torch.ones(6, 6).tril().bool()
    ids = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 3, 5, 8]])
    for positions in ("learned", "rope", "alibi"):
        model = make(positions=positions, n_layers=1)
        causal = torch.ones(6, 6).tril().bool()
        torch.testing.assert_close(model(ids, mask=causal), model(ids))
        for mask in (prefix, documents):
            changed = ids.clone()
            changed[:, 1] = 7
            moved = (model(ids, mask=mask) - model(changed, mask=mask)).abs().sum(-1) > 1e-6  # [B, T]
            assert torch.equal(moved, mask[:, 1].expand(2, 6))
        each = torch.stack([prefix, documents])[:, None]  # [B, 1, T, T]
        both = torch.cat([model(ids[:1], mask=prefix), model(ids[1:], mask=documents)])
        torch.testing.assert_close(model(ids, mask=each), both)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rope", "alibi"])
def test_documents_in_a_row_read_as_each_alone(positions):
    model = make(positions=positions)
    ids = torch.tensor([[3, 1, 4, 1, 5, 9]])
    mask = torch.block_diag(torch.ones(2, 2), torch.ones(4, 4)).tril().bool()
    places = torch.tensor([[0, 1, 0, 1, 2, 3]])
    alone = torch.cat([model(ids[:, :2]), model(ids[:, 2:])], 1)
    torch.testing.assert_close(model(ids, mask=mask, positions=places), alone, rtol=1e-3, atol=1e-4)
    if positions in ("learned", "sinusoidal"):  # without them the second document would start at place 2
        assert (model(ids, mask=mask) - alone).abs().max() > 0.01
