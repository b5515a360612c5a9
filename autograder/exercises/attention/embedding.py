"""Exercise 1: an embedding is a lookup, a lookup is a product with a one-hot matrix, and its gradient adds up."""

from __future__ import annotations

import torch
from torch import Tensor

from autograder.compare import close
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention


def rows_of(ids: Tensor, E: Tensor) -> Tensor:
    """The oracle: one row after the other."""
    return torch.stack([torch.stack([E[i] for i in text]) for text in ids.tolist()])


def collected(ids: Tensor, grad_out: Tensor, vocab_size: int) -> Tensor:
    """The oracle: every row of the table goes through the whole batch and takes what is its own."""
    flat = grad_out.reshape(-1, grad_out.shape[-1])
    return torch.stack([flat[ids.flatten() == row].sum(0) for row in range(vocab_size)]).to(grad_out.dtype)


def whole_numbers(rng: Rng, *shape: int) -> Tensor:
    """Small numbers without a fraction: their sums are exact in every dtype."""
    return (rng.normal(*shape) * 10).round()


def draw_ids(rng: Rng, B: int, T: int, vocab_size: int) -> Tensor:
    """Ids of which the first two texts share one; id 0 occurs and the last two ids do not."""
    ids = torch.tensor([rng.ids(T, 0, vocab_size - 3) for _ in range(B)])
    ids[0, 0], ids[-1, -1], ids[0, 1] = 0, ids[0, 2], ids[0, 2]
    return ids


class Embed(Exercise):
    """Look up a row of the embedding table for every id, and add up the gradient of the table by hand."""

    title = "An embedding is a matrix product"
    difficulty = 1
    minutes = 10
    id = "embed"
    functions = ("embed", "embed_backward")
    reference = attention
    forbid = (
        "torch.nn.Embedding",
        "torch.nn.EmbeddingBag",
        "torch.nn.functional.embedding",
        "torch.nn.functional.embedding_bag",
        "torch.embedding",
        "torch.autograd",
        "torch.Tensor.backward",
    )
    hints = (
        "What does a row vector with a single 1 in it pick out of a matrix? And if a word stands in a text twice, "
        "how many of its gradients change its row of the table?",
        "embed: a tensor of integers may stand between the brackets of another tensor. embed_backward: begin with "
        "zeros of shape [vocab_size, C], take ids and gradients as long lists of B times T entries, and add every "
        "gradient to the row of its id, also when that row already holds something.",
        "embed: E[ids]. embed_backward: grad = torch.zeros(vocab_size, C, dtype=grad_out.dtype); "
        "grad.index_add_(0, ids.flatten(), grad_out.reshape(-1, C)). Plain grad[ids] += grad_out would add once for "
        "each id and not once for each place.",
    )

    @check(hint="Id 0 is the first row of E. Each id of [B, T] is replaced by its row, which gives [B, T, C].")
    def looks_up_the_row_of_every_id(self, student: Student, rng: Rng) -> None:
        E = torch.tensor([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0], [30.0, 31.0]])
        close(student.embed(torch.tensor([[2, 0, 2]]), E), torch.tensor([[[20.0, 21.0], [0.0, 1.0], [20.0, 21.0]]]))
        E = rng.normal(rng.randint(7, 9), 3)
        ids = draw_ids(rng, 2, 4, len(E))
        close(student.embed(ids, E), rows_of(ids, E))

    @check(hint="An id that occurs three times gets the sum of three gradients. Does your code add, or replace?")
    def adds_the_gradients_of_equal_ids(self, student: Student, rng: Rng) -> None:
        grad = torch.tensor([[[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]])
        want = torch.tensor([[10.0, 20.0], [101.0, 202.0], [0.0, 0.0]])
        close(student.embed_backward(torch.tensor([[1, 0, 1]]), grad, 3), want)
        V = rng.randint(8, 10)
        ids, grad = draw_ids(rng, 3, 5, V), rng.normal(3, 5, 2)
        close(student.embed_backward(ids, grad, V), collected(ids, grad, V))

    @check(hint="The gradient has the shape of the table: a row for each of the vocab_size ids, zeros where none came.")
    def leaves_zeros_in_unused_rows(self, student: Student, rng: Rng) -> None:
        V = rng.randint(12, 20)
        ids, grad = torch.tensor([rng.sample(range(5), 3)]), rng.normal(1, 3, 4)
        close(student.embed_backward(ids, grad, V), collected(ids, grad, V))

    @check(hint="The rows of a float64 table are float64. A one-hot matrix has to be made in the dtype of E.")
    def keeps_the_dtype_of_the_table(self, student: Student, rng: Rng) -> None:
        for dtype in (torch.float64, torch.bfloat16):
            E, ids = whole_numbers(rng, 8, 3).to(dtype), draw_ids(rng, 2, 4, 8)
            close(student.embed(ids, E), rows_of(ids, E), what=f"embed with a table of {dtype}")
            grad = whole_numbers(rng, 2, 4, 3).to(dtype)
            got = student.embed_backward(ids, grad, 8)
            close(got, collected(ids, grad, 8), what=f"embed_backward with gradients of {dtype}")

    @check(hint="Build the result from E with torch's operations; numbers that were copied out of it have no history.")
    def gradients_flow_back_into_the_table(self, student: Student, rng: Rng) -> None:
        E, ids, upstream = rng.normal(8, 3), draw_ids(rng, 2, 4, 8), rng.normal(2, 4, 3)
        close(student.embed(ids, E), rows_of(ids, E))
        _, (grad,) = student.embed.gradient(ids, E, wrt=[1], upstream=upstream)
        close(grad, collected(ids, upstream, 8), what="autograd's gradient of the table")

    @mistake("counts ids from 1; id 0 is the first row of the table")
    def one_based(ids, E):
        return E[ids - 1]

    @mistake("goes through a float32 copy; the result has the dtype of the table")
    def float_copies(ids, E):
        return torch.nn.functional.one_hot(ids, len(E)).float() @ E.float()

    @mistake("loses the batch: it returns one long list of rows instead of [B, T, C]")
    def without_batch(ids, E):
        return E[ids.flatten()]

    @mistake("copies numbers out of the table; no gradient finds its way back through a copy")
    def copies_the_numbers(ids, E):
        return torch.tensor([[E[i].tolist() for i in text] for text in ids.tolist()], dtype=E.dtype)

    @mistake(
        "keeps only one gradient of an id that occurs twice; grad[ids] = ... and grad[ids] += ... both do that",
        of="embed_backward",
    )
    def overwrites(ids, grad_out, vocab_size):
        grad = grad_out.new_zeros(vocab_size, grad_out.shape[-1])
        for place, i in enumerate(ids.flatten().tolist()):
            grad[i] = grad_out.flatten(0, 1)[place]
        return grad

    @mistake("averages the gradients of equal ids; they are added", of="embed_backward")
    def averages(ids, grad_out, vocab_size):
        count = torch.bincount(ids.flatten(), minlength=vocab_size).clamp(min=1)
        return attention.embed_backward(ids, grad_out, vocab_size) / count[:, None].to(grad_out.dtype)

    @mistake("divides by the number of places; whoever wants a mean has done that in the loss", of="embed_backward")
    def divides_by_the_places(ids, grad_out, vocab_size):
        return attention.embed_backward(ids, grad_out, vocab_size) / ids.numel()

    @mistake("makes only as many rows as the highest id needs; the table has vocab_size", of="embed_backward")
    def rows_up_to_the_highest_id(ids, grad_out, vocab_size):
        return attention.embed_backward(ids, grad_out, int(ids.max()) + 1)

    @mistake("counts ids from 1, so that every gradient lands one row too early", of="embed_backward")
    def gradients_one_row_early(ids, grad_out, vocab_size):
        return attention.embed_backward(ids, grad_out, vocab_size).roll(-1, 0)

    @mistake("collects in float32; the gradient has the dtype of what comes in", of="embed_backward")
    def collects_in_float32(ids, grad_out, vocab_size):
        return attention.embed_backward(ids, grad_out.float(), vocab_size)
