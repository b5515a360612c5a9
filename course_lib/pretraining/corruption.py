"""What is hidden from a model so that it can be asked for it: single tokens (BERT) or spans (T5)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.attention._arguments import require_int, require_tensor
from course_lib.pretraining.objectives import IGNORED


def mlm_mask(
    ids: Tensor,
    mask_id: int,
    vocab_size: int,
    special_mask: Tensor | None = None,
    g: torch.Generator | None = None,
    p: float = 0.15,
    special_ids: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Choose each token with probability `p` and hide it; return (inputs, labels), both of ids' shape [..., T].

    Of the chosen tokens 80% become `mask_id`, 10% a random token (which may happen to be the old one), and 10% stay as
    they are; labels hold the old token wherever one was chosen, even where it stayed, and -100 everywhere else. Never
    chosen: positions where `special_mask` (boolean, ids' shape) is True, and tokens in `special_ids`; random tokens are
    never `mask_id` nor in `special_ids`. Each call chooses anew, so no two epochs have the same holes. `g` draws.
    ValueError for shapes that do not fit, a `p` outside 0 to 1, or a `mask_id` outside the vocabulary.
    Source: Devlin et al. 2019, section 3.1 and appendix A.1; Liu et al. 2019, section 4.1 (anew in every epoch).

    >>> inputs, labels = mlm_mask(torch.arange(6), mask_id=9, vocab_size=10, p=0.0)
    >>> inputs.tolist(), labels.unique().tolist()
    ([0, 1, 2, 3, 4, 5], [-100])
    """
    require_tensor("ids", ids, "[..., T]")
    if require_int("mask_id", mask_id, 0) >= require_int("vocab_size", vocab_size, 1):
        raise ValueError(f"mask_id: expected less than vocab_size = {vocab_size}, got {mask_id}")
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability from 0 to 1, got {p!r}")
    if special_mask is not None and special_mask.shape != ids.shape:
        got = tuple(special_mask.shape)
        raise ValueError(f"special_mask: expected the shape of ids, {tuple(ids.shape)}, got {got}")
    is_ordinary = torch.ones(vocab_size, dtype=torch.bool)
    for special in (mask_id, *special_ids):
        if not 0 <= special < vocab_size:
            raise ValueError(f"special_ids: expected ids from 0 to {vocab_size - 1}, got {special}")
        is_ordinary[special] = False
    ordinary = is_ordinary.nonzero().flatten()  # what a random token may be
    if not len(ordinary):
        raise ValueError("special_ids: expected them to leave an ordinary token, got the whole vocabulary")
    where = g.device if g is not None else ids.device
    chosen = torch.rand(ids.shape, generator=g, device=where).to(ids.device) < p
    if special_mask is not None:
        chosen &= ~special_mask.bool()
    if special_ids:
        chosen &= ~torch.isin(ids, torch.tensor(list(special_ids), device=ids.device))
    fate = torch.rand(ids.shape, generator=g, device=where).to(ids.device)
    picks = torch.randint(len(ordinary), ids.shape, generator=g, device=where).to(ids.device)
    labels = torch.where(chosen, ids, IGNORED)
    inputs = torch.where(chosen & (fate < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), ordinary.to(ids)[picks], inputs)
    return inputs, labels


def span_corrupt(
    ids: Tensor, noise: float = 0.15, mean_span: float = 3.0, sentinel0: int = 32099, g: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Cut spans out of a text [T] and return (inputs, targets): the text with gaps, and what belongs into them.

    As many tokens are cut as `span_mask` says, and `replace_spans` numbers the gaps by sentinels: tokens of their own,
    sentinel0, sentinel0 - 1, and so on (T5's vocabulary keeps its 100 at the end, in this order). `g` draws.
    ValueError for a text of fewer than two tokens, `noise` outside 0 to 1 (both excluded), or `mean_span` below 1.
    Source: Raffel et al. 2020, section 3.1.4 and figure 2; 15% and 3 from sections 3.3.3 and 3.3.4.

    >>> inputs, targets = span_corrupt(torch.arange(20), noise=0.15, mean_span=3, sentinel0=99)
    >>> len(inputs), len(targets), targets[[0, -1]].tolist()
    (18, 5, [99, 98])
    """
    require_tensor("ids", ids, "[T]")
    return replace_spans(ids, span_mask(len(ids), noise, mean_span, g).to(ids.device), sentinel0)


def span_mask(T: int, noise: float = 0.15, mean_span: float = 3.0, g: torch.Generator | None = None) -> Tensor:
    """Draw which of T tokens to hide, boolean [T]: round(noise T) of them, in round(hidden / mean_span) spans.

    At least one token is hidden and at least one stays. Between two spans stands at least one token, so they never run
    into each other; apart from that every arrangement is equally likely. Errors as for `span_corrupt`.

    >>> mask = span_mask(100, 0.15, 3)
    >>> int(mask.sum()), int((mask[1:] & ~mask[:-1]).sum() + mask[0])
    (15, 5)
    """
    require_int("T", T, 2)
    if not 0 < noise < 1:
        raise ValueError(f"noise: expected a share between 0 and 1, got {noise!r}")
    if not mean_span >= 1:
        raise ValueError(f"mean_span: expected at least 1 token, got {mean_span!r}")
    hidden = min(max(round(noise * T), 1), T - 1)
    kept = T - hidden
    spans = min(max(round(hidden / mean_span), 1), hidden, kept + 1)
    where = g.device if g is not None else None
    # Cutting `hidden` tokens at spans - 1 of the hidden - 1 joints makes spans of at least one token.
    cuts = torch.randperm(hidden - 1, generator=g, device=where)[: spans - 1].sort().values.cpu() + 1
    lengths = torch.diff(cuts, prepend=torch.tensor([0]), append=torch.tensor([hidden]))
    # Each span stands in front of another kept token, or behind the last: kept + 1 places, no two spans in one.
    places = torch.randperm(kept + 1, generator=g, device=where)[:spans].sort().values.cpu()
    starts = places + lengths.cumsum(0) - lengths
    steps = torch.zeros(T + 1, dtype=torch.long)
    steps[starts] += 1
    steps[starts + lengths] -= 1
    return steps[:-1].cumsum(0).bool()


def replace_spans(ids: Tensor, hidden: Tensor, sentinel0: int) -> tuple[Tensor, Tensor]:
    """Return (inputs, targets) of a text [T] in which the tokens where `hidden` [T] is True are cut out.

    A run of hidden tokens is one span. In the inputs span k is replaced by the sentinel sentinel0 - k; the targets hold
    each sentinel followed by its span, and one more sentinel that says "that was all". ValueError for shapes that do
    not fit, or more spans than there are sentinels above 0. Source: Raffel et al. 2020, figure 2.

    >>> text = torch.tensor([10, 11, 12, 13, 14, 15])
    >>> hidden = torch.tensor([False, True, True, False, True, False])
    >>> [x.tolist() for x in replace_spans(text, hidden, sentinel0=99)]
    [[10, 99, 13, 98, 15], [99, 11, 12, 98, 14, 97]]
    """
    require_tensor("ids", ids, "[T]")
    if not isinstance(hidden, Tensor) or hidden.dtype != torch.bool or hidden.shape != ids.shape:
        got = f"{hidden.dtype} {tuple(hidden.shape)}" if isinstance(hidden, Tensor) else type(hidden).__name__
        raise ValueError(f"hidden: expected a boolean tensor of shape {tuple(ids.shape)}, got {got}")
    begins = hidden.clone()
    begins[1:] &= ~hidden[:-1]
    spans = int(begins.sum())
    if require_int("sentinel0", sentinel0, 0) < spans:
        raise ValueError(f"sentinel0: expected at least {spans}, to number {spans} spans downwards, got {sentinel0}")
    sentinels = sentinel0 - begins.cumsum(0) + 1  # [T]: at a span's first token, its sentinel
    inputs = torch.where(begins, sentinels, ids)[~hidden | begins]
    # Each hidden token once, and before a span's first token its sentinel: pairs, of which most lose the sentinel.
    pairs, wanted = torch.stack([sentinels, ids], 1), torch.stack([begins, hidden], 1)
    targets = torch.cat([pairs[wanted], torch.tensor([sentinel0 - spans], device=ids.device)])
    return inputs.to(ids.dtype), targets.to(ids.dtype)
