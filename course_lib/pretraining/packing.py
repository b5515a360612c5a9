"""Packing: documents of any length in rows of one length, and the masks that keep them apart.

Padding each short document to the length of a row would spend most of the computation on nothing. Packing joins the
documents, an end token after each, and cuts the stream into rows. Then a row may hold the end of one document and the
beginning of another, and attention may or may not look across.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from course_lib.pretraining._arguments import require_int

IGNORE = -100  # the target that torch's cross-entropy leaves out


def pack(docs: Iterable[Sequence[int]], T: int, eos: int) -> Tensor:
    """Join documents, `eos` after each, and cut the stream into rows: int64 [N, T].

    No token is lost and the order stays. Where the last row is not full, more `eos` fill it. A document that is
    longer than a row goes on in the next. ValueError for T < 1 and for a document that holds `eos` itself.
    Source: Brown et al. 2020 (GPT-3), appendix B; Raffel et al. 2020 (T5), section 3.1.2.

    >>> pack([[1, 2, 3], [4], [5, 6]], T=4, eos=0)
    tensor([[1, 2, 3, 0],
            [4, 0, 5, 6],
            [0, 0, 0, 0]])
    """
    require_int("T", T, 1)
    stream: list[int] = []
    for index, doc in enumerate(docs):
        ids = doc.tolist() if isinstance(doc, Tensor) else list(doc)
        if eos in ids:
            raise ValueError(f"docs[{index}]: expected a document without the end token {eos}, got one inside")
        stream += [*ids, eos]
    stream += [eos] * (-len(stream) % T)
    return torch.tensor(stream, dtype=torch.int64).view(-1, T)


def document_index(ids: Tensor, eos: int) -> Tensor:
    """Number the documents along the last axis from 0: [..., T] -> int64 [..., T]; an end belongs to what it ends.

    >>> document_index(torch.tensor([1, 2, 0, 3, 0, 4]), eos=0)
    tensor([0, 0, 0, 1, 1, 2])
    """
    _require_ids(ids)
    ends = (ids == eos).long()
    return ends.cumsum(-1) - ends  # how many documents have ended before this position


def document_positions(ids: Tensor, eos: int) -> Tensor:
    """Return each token's position in its document, from 0: [..., T] -> int64 [..., T].

    A row that begins inside a document counts from the beginning of the row.

    >>> document_positions(torch.tensor([1, 2, 0, 3, 0, 4]), eos=0)
    tensor([0, 1, 2, 0, 1, 0])
    """
    _require_ids(ids)
    index = torch.arange(ids.shape[-1], device=ids.device).expand(ids.shape)
    starts = torch.zeros_like(index)
    starts[..., 1:] = torch.where(ids[..., :-1] == eos, index[..., 1:], 0)
    return index - starts.cummax(-1).values if ids.shape[-1] else starts


def document_mask(ids: Tensor, eos: int) -> Tensor:
    """Return the causal mask that is cut at documents: [..., T] -> bool [..., T, T], True where a query may look.

    Blocks along the diagonal, one a document, each a lower triangle. The end token is the last of its own document
    and sees nothing of the next. Source: Llama 3 (Grattafiori et al. 2024), section 3.2, uses such a mask.

    >>> document_mask(torch.tensor([1, 0, 2, 3]), eos=0).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 0, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    index = document_index(ids, eos)
    same = index.unsqueeze(-1) == index.unsqueeze(-2)  # [..., T, T]
    return same.tril_()


def document_targets(inputs: Tensor, targets: Tensor, eos: int) -> Tensor:
    """Replace the targets that follow an end token by -100, which the loss leaves out: [..., T] each.

    Behind a document mask nothing tells what the next document will be about; and the end tokens that fill the last
    row of `pack` drop out in the same way. The price: the first token of a document is never predicted.

    >>> document_targets(torch.tensor([1, 0, 2, 0]), torch.tensor([0, 2, 0, 0]), eos=0)
    tensor([   0, -100,    0, -100])
    """
    if inputs.shape != targets.shape:
        raise ValueError(f"targets: expected the shape of inputs {tuple(inputs.shape)}, got {tuple(targets.shape)}")
    return targets.masked_fill(inputs == eos, IGNORE)


def _require_ids(ids: Tensor) -> None:
    if not isinstance(ids, Tensor) or ids.ndim < 1:
        got = tuple(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
        raise ValueError(f"ids: expected a tensor [..., T], got {got}")
