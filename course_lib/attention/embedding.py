"""Token embeddings: a lookup that equals a matrix product, and its gradient, a sum over equal ids."""

from torch import Tensor

from course_lib.attention._arguments import require_ids, require_int, require_tensor


def embed(ids: Tensor, E: Tensor) -> Tensor:
    """Look up one row of the table for every id: [B, T] ids and a [V, C] table give [B, T, C].

    Any leading shape of `ids` works. It equals ``one_hot(ids) @ E``, without the one-hot matrix of B T V numbers.
    The result has the table's dtype, and gradients flow back into the table.
    ValueError for ids that are not integers or not in 0 .. V - 1. Source: Bengio et al. 2003, section 2 (the map C).

    >>> import torch
    >>> embed(torch.tensor([[2, 0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    tensor([[[5., 6.],
             [1., 2.]]])
    """
    require_tensor("E", E, "[V, C]")
    require_ids("ids", ids, len(E))
    return E[ids]


def embed_backward(ids: Tensor, grad_out: Tensor, vocab_size: int) -> Tensor:
    """Return the gradient of the loss with respect to the table: [B, T] and [B, T, C] give [V, C].

    An id that occurs several times gets the sum of its gradients, an id that does not occur gets zeros.
    ValueError for ids outside the vocabulary or shapes that do not belong together.
    Source: the transpose of the linear map above, ``one_hot(ids).T @ grad_out``.

    >>> import torch
    >>> embed_backward(torch.tensor([[1, 1]]), torch.tensor([[[1.0, 2.0], [10.0, 20.0]]]), 3)
    tensor([[ 0.,  0.],
            [11., 22.],
            [ 0.,  0.]])
    """
    require_int("vocab_size", vocab_size, 1)
    require_ids("ids", ids, vocab_size)
    width = grad_out.shape[-1] if grad_out.ndim else 0
    if grad_out.shape != (*ids.shape, width):
        raise ValueError(f"grad_out: expected shape {(*ids.shape, 'C')}, got {tuple(grad_out.shape)}")
    # index_add_ adds up where an id occurs twice; grad[ids] = grad_out would keep only one of them.
    return grad_out.new_zeros(vocab_size, width).index_add_(0, ids.flatten(), grad_out.reshape(-1, width))
