"""Hidden checks of exercise 1, and other ways to solve it."""

from __future__ import annotations

import torch

from autograder.compare import close, true
from autograder.exercise import check, variant
from autograder.exercises.attention import embedding as public
from autograder.exercises.attention.embedding import collected, draw_ids, rows_of, whole_numbers
from autograder.rng import Rng
from autograder.student import Student


class Embed(public.Embed):
    @check(hint="The lookup is one_hot(ids) @ E, for any number of texts, positions, rows and columns.")
    def is_a_product_with_a_one_hot_matrix(self, student: Student, rng: Rng) -> None:
        for _ in range(3):
            B, T, V, C = rng.randint(1, 4), rng.randint(3, 30), rng.randint(4, 60), rng.randint(1, 9)
            ids, E = draw_ids(rng, B, T, V), rng.normal(V, C, dtype=torch.float64)
            one_hot = (ids[..., None] == torch.arange(V)).double()
            close(student.embed(ids, E), one_hot @ E, what=f"embed with B={B}, T={T}, V={V}, C={C}")

    @check(points=2, hint="In a long text an id occurs dozens of times. Its row collects all of the gradients.")
    def collects_everything_in_a_long_text(self, student: Student, rng: Rng) -> None:
        for V in (rng.randint(5, 7), rng.randint(50, 90)):
            ids, grad = draw_ids(rng, 3, 100, V), whole_numbers(rng, 3, 100, 4)
            got = student.embed_backward(ids, grad, V)
            close(got, collected(ids, grad, V), what=f"embed_backward with {V} ids in 300 places")
            close(got.sum(0), grad.sum((0, 1)), what="the sum over all rows")

    @check(hint="Read a slice of a batch: a gradient may come as a view whose numbers are not in one row in memory.")
    def takes_gradients_in_any_layout(self, student: Student, rng: Rng) -> None:
        ids, grad = draw_ids(rng, 2, 4, 7), whole_numbers(rng, 3, 2, 4).permute(1, 2, 0)
        close(student.embed_backward(ids, grad, 7), collected(ids, grad, 7))
        one = torch.tensor([[rng.randint(0, 6)]])
        E = rng.normal(7, 1)
        close(student.embed(one, E), rows_of(one, E), what="a single id with rows of one number")
        close(student.embed_backward(one, grad[:1, :1], 7), collected(one, grad[:1, :1], 7), what="a single gradient")

    @check(hint="Neither function may change what it was given: the table, the ids and the gradients are used again.")
    def leaves_its_inputs_as_they_were(self, student: Student, rng: Rng) -> None:
        ids, E, grad = draw_ids(rng, 2, 5, 8), rng.normal(8, 3), rng.normal(2, 5, 3)
        for call, args, want in (
            (student.embed, (ids, E), rows_of(ids, E)),
            (student.embed_backward, (ids, grad, 8), collected(ids, grad, 8)),
        ):
            got, after = call.with_arguments(*(a.clone() if torch.is_tensor(a) else a for a in args))
            close(got, want)
            same = all(torch.equal(a, b) for a, b in zip(after[:2], args[:2], strict=True))
            true(same, "it changed a tensor that it was given")

    @variant
    class OneHot:
        """As the products that they are."""

        def embed(ids, E):
            return torch.nn.functional.one_hot(ids, len(E)).to(E.dtype) @ E

        def embed_backward(ids, grad_out, vocab_size):
            one_hot = torch.nn.functional.one_hot(ids, vocab_size).to(grad_out.dtype)
            return torch.einsum("btv,btc->vc", one_hot, grad_out)

    @variant
    class Loops:
        def embed(ids, E):
            return torch.stack([torch.stack([E[int(i)] for i in text]) for text in ids])

        def embed_backward(ids, grad_out, vocab_size):
            grad = torch.zeros(vocab_size, grad_out.shape[2], dtype=grad_out.dtype)
            for b in range(ids.shape[0]):
                for t in range(ids.shape[1]):
                    grad[ids[b, t]] += grad_out[b, t]
            return grad

    @variant
    class IndexSelect:
        def embed(ids, E):
            return E.index_select(0, ids.reshape(-1)).view(*ids.shape, E.shape[1])

        def embed_backward(ids, grad_out, vocab_size):
            width = grad_out.size(-1)
            index = ids.reshape(-1, 1).expand(-1, width)
            return torch.zeros((vocab_size, width), dtype=grad_out.dtype).scatter_add(
                0, index, grad_out.reshape(-1, width)
            )

    @variant
    class IndexPut:
        def embed(ids, E):
            return torch.take_along_dim(E[None].expand(len(ids), -1, -1), ids[..., None], dim=1)

        def embed_backward(ids, grad_out, vocab_size):
            grad = grad_out.new_zeros(vocab_size, grad_out.shape[-1])
            return grad.index_put((ids,), grad_out, accumulate=True)
