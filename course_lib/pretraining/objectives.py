"""What a language model is asked in pretraining: the losses. What is hidden for them is in `corruption`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention._arguments import require_tensor
from course_lib.attention.masks import make_mask
from course_lib.attention.scaled_dot_product import attention

IGNORED = -100  # a target that is no target


def causal_lm_loss(logits: Tensor, ids: Tensor, ignore_index: int = IGNORED) -> Tensor:
    """Return the mean loss in nats of predicting each token from those before it: logits [B, T, V], ids [B, T].

    The logits at position t are compared with the token at t + 1, so T tokens make T - 1 predictions. Tokens equal to
    `ignore_index` (padding) are not predicted and do not count: the mean is over all other predictions of the batch
    together, not a mean of the means of its rows. Half precision is widened to float32 first. ValueError for shapes
    that do not fit, or if no prediction is left.
    Source: Radford et al. 2018, equation 1, as a mean.

    >>> causal_lm_loss(torch.zeros(1, 4, 10), torch.tensor([[3, 1, 4, 1]]))  # ln 10: all are equally likely
    tensor(2.3026)
    """
    targets = _shifted_targets(logits, ids, ignore_index)
    return F.cross_entropy(at_least_float32(logits[:, :-1].flatten(0, 1)), targets.flatten(), ignore_index=ignore_index)


def perplexity(logits: Tensor, ids: Tensor, ignore_index: int = IGNORED) -> Tensor:
    """Return exp of the mean loss: among how many equally likely tokens the model hesitates, on average.

    Arguments and errors as for `causal_lm_loss`. Exp of the summed loss would grow with the length of the text.
    Source: Jelinek et al. 1977 (perplexity as a measure of difficulty).

    >>> round(perplexity(torch.zeros(1, 4, 10), torch.tensor([[3, 1, 4, 1]])).item(), 3)
    10.0
    """
    return causal_lm_loss(logits, ids, ignore_index).exp()


def masked_lm_loss(logits: Tensor, labels: Tensor, ignore_index: int = IGNORED) -> Tensor:
    """Return the mean loss over the positions that `corruption.mlm_mask` chose: logits [B, T, V], labels [B, T].

    Nothing is shifted: position t's logits are about token t, which the input hides. ValueError for shapes that do
    not fit, or if every label is `ignore_index`. Source: Devlin et al. 2019, section 3.1.

    >>> masked_lm_loss(torch.zeros(1, 3, 8), torch.tensor([[-100, 5, -100]]))  # ln 8
    tensor(2.0794)
    """
    require_tensor("logits", logits, "[B, T, V]")
    _require_fit("labels", labels, logits)
    _require_some("labels", labels, ignore_index)
    return F.cross_entropy(at_least_float32(logits.flatten(0, 1)), labels.flatten(), ignore_index=ignore_index)


def prefix_lm_loss(model: nn.Module, prefix: Tensor, target: Tensor, ignore_index: int = IGNORED) -> Tensor:
    """Return the mean loss on `target` [B, S] given `prefix` [B, P], whose tokens see each other from both sides.

    ``model(ids, mask=mask)`` gets both in a row, [B, P + S], and a mask [P + S, P + S] (True means "may attend"), and
    returns logits. Only tokens of the target are predicted, the first of them from the last of the prefix. Target
    tokens equal to `ignore_index` do not count; they must stand at the end, as padding does. ValueError for shapes
    that do not fit, an empty prefix, or if no prediction is left.
    Source: Raffel et al. 2020, section 3.2.1.

    >>> loss = prefix_lm_loss(lambda ids, mask: torch.zeros(*ids.shape, 8), torch.tensor([[1, 2]]), torch.tensor([[3]]))
    >>> loss  # ln 8
    tensor(2.0794)
    """
    P = require_tensor("prefix", prefix, "[B, P]").shape[1]
    S = require_tensor("target", target, "[B, S]").shape[1]
    if not P:
        raise ValueError("prefix: expected at least one token, got none")
    if len(prefix) != len(target):
        raise ValueError(f"target: expected as many rows as prefix has, {len(prefix)}, got {len(target)}")
    _require_some("target", target, ignore_index)
    readable = target.masked_fill(target == ignore_index, 0)  # a model can only be fed tokens that exist
    ids = torch.cat([prefix, readable], dim=1)
    logits = model(ids, mask=make_mask(P + S, "prefix", prefix_len=P).to(ids.device))
    about_target = logits[:, P - 1 : -1]  # [B, S, V]: token P is predicted at P - 1
    return F.cross_entropy(at_least_float32(about_target.flatten(0, 1)), target.flatten(), ignore_index=ignore_index)


def cross_attention(q_dec: Tensor, kv_enc: tuple[Tensor, Tensor], enc_mask: Tensor | None = None) -> Tensor:
    """Let each position of a decoder look at the whole input: queries [..., T, D], keys and values [..., S, D] each.

    The encoder has read all of its input before the decoder writes a word, so nothing is hidden but padding:
    `enc_mask`, True for real tokens, broadcasts to [..., T, S]. Returns [..., T, D]. ValueError for shapes that do not
    fit. Source: Vaswani et al. 2017, section 3.2.3.

    >>> values = torch.tensor([[0.0], [4.0]])
    >>> cross_attention(torch.zeros(3, 1), (torch.zeros(2, 1), values)).flatten()
    tensor([2., 2., 2.])
    """
    if not isinstance(kv_enc, tuple | list) or len(kv_enc) != 2:
        raise ValueError(f"kv_enc: expected a pair of keys and values, got {type(kv_enc).__name__}")
    k, v = kv_enc
    for name, x in (("q_dec", q_dec), ("kv_enc", k), ("kv_enc", v)):
        require_tensor(name, x, "[..., T, D]")
    return attention(q_dec, k, v, None if enc_mask is None else torch.atleast_2d(enc_mask))


def at_least_float32(logits: Tensor) -> Tensor:
    """Return the logits in float32 if their precision is lower: a sum over V exponentials needs the digits."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _shifted_targets(logits: Tensor, ids: Tensor, ignore_index: int) -> Tensor:
    require_tensor("logits", logits, "[B, T, V]")
    _require_fit("ids", ids, logits)
    targets = ids[:, 1:]
    _require_some("ids", targets, ignore_index)
    return targets


def _require_fit(name: str, ids: Tensor, logits: Tensor) -> None:
    if not isinstance(ids, Tensor) or ids.shape != logits.shape[:2]:
        got = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"{name}: expected shape {tuple(logits.shape[:2])}, as logits have, got {got}")


def _require_some(name: str, targets: Tensor, ignore_index: int) -> None:
    # On a GPU the answer would have to be waited for at every step; there the mean of nothing is NaN.
    if targets.numel() == 0 or (targets.device.type == "cpu" and bool((targets == ignore_index).all())):
        raise ValueError(f"{name}: expected at least one token to predict, got none")
