"""Hidden checks of exercise 9, and other ways to solve it."""

from __future__ import annotations

from itertools import chain, pairwise

import torch

from autograder.compare import equal, true
from autograder.exercise import check, variant
from autograder.exercises.pretraining import packing as public
from autograder.exercises.pretraining.packing import drawn_documents, expect_table, mask_of, positions_of, rows_of
from autograder.rng import Rng
from autograder.student import Student


class DocumentMask(public.DocumentMask):
    @check(hint="Try a document of many rows, one that ends exactly at a row's end, T = 1, and an empty document.")
    def packs_documents_of_every_length(self, student: Student, rng: Rng) -> None:
        long = rng.ids(23, 8, 90)
        cases = [
            ([[10, 11], [13, 14, 15], [16], [17]], 4),
            ([long, [9]], 5),
            ([[10, 11, 12]], 4),
            ([[8], [9, 10]], 1),
            ([[], [8, 9], []], 3),
        ]
        cases += [(drawn_documents(rng, 30, 12, 7), rng.randint(6, 11))]
        for docs, T in cases:
            got = student.pack(docs, T, 7)
            expect_table(got, rows_of(docs, T, 7), f"for {len(docs)} documents and T = {T}, the result")
            kept = [token for token in got.flatten().tolist() if token != 7]
            equal(kept, list(chain.from_iterable(docs)), what="what is not an end token, in its order,")

    @check(hint="Any dimensions may stand in front of T: use the last one from behind, -1.")
    def takes_many_rows_at_once(self, student: Student, rng: Rng) -> None:
        rows = rows_of(drawn_documents(rng, 12, 6, 2), 9, 2)
        rows = torch.stack([rows[:2], rows[1:3]])  # [2, 2, 9]
        for name, oracle in (("document_mask", mask_of), ("document_positions", positions_of)):
            got = getattr(student, name)(rows, 2)
            want = torch.stack([torch.stack([oracle(row.tolist(), 2) for row in pair]) for pair in rows])
            expect_table(got, want, f"the result of {name} for ids of shape {tuple(rows.shape)}")

    @check(hint="Try a row of nothing but end tokens, one without any, and one of length 1.")
    def knows_rows_without_and_full_of_ends(self, student: Student, rng: Rng) -> None:
        for ids in ([4, 4, 4, 4], rng.ids(6, 5, 9), [4], [8], [4, 9, 9, 4]):
            mask, positions = (
                student.document_mask(torch.tensor(ids), 4),
                student.document_positions(torch.tensor(ids), 4),
            )
            expect_table(mask, mask_of(ids, 4), f"the mask for {ids}, eos = 4,")
            expect_table(positions, positions_of(ids, 4), f"for {ids}, eos = 4, the result of document_positions")
            # A position is how many of its own document stand before it.
            true(mask.sum(-1).tolist() == (positions + 1).tolist(), "mask and positions do not belong together")

    @variant
    class OneTokenAtATime:
        """Loops, as on paper."""

        def pack(docs, T, eos):
            rows, row = [], []
            for doc in docs:
                for token in [*doc, eos]:
                    row.append(token)
                    if len(row) == T:
                        rows.append(row)
                        row = []
            if row:
                rows.append(row + [eos] * (T - len(row)))
            return torch.tensor(rows, dtype=torch.long)

        def document_positions(ids, eos):
            out = torch.zeros_like(ids)
            for t in range(1, ids.shape[-1]):
                out[..., t] = torch.where(ids[..., t - 1] == eos, 0, out[..., t - 1] + 1)
            return out

        def document_mask(ids, eos):
            T = ids.shape[-1]
            mask = torch.zeros(*ids.shape, T, dtype=torch.bool)
            for t in range(T):
                mask[..., t, t] = True
                if t:
                    goes_on = (ids[..., t - 1] != eos)[..., None]
                    mask[..., t, :t] = mask[..., t - 1, :t] & goes_on
            return mask

    @variant
    class Chunks:
        """Torch's split and pad; a mask from the number of end tokens between two places."""

        def pack(docs, T, eos):
            stream = torch.tensor([token for doc in docs for token in (*doc, eos)])
            missing = (T - len(stream) % T) % T
            return torch.nn.functional.pad(stream, (0, missing), value=eos).reshape(-1, T)

        def document_mask(ids, eos):
            ends = (ids == eos).int().cumsum(-1)
            before = torch.nn.functional.pad(ends, (1, 0))[..., :-1]  # ends strictly before each place
            order = torch.arange(ids.shape[-1])
            return (before.unsqueeze(-1) <= before.unsqueeze(-2)) & (order[:, None] >= order[None, :])

        def document_positions(ids, eos):
            T = ids.shape[-1]
            place = torch.arange(T)
            begins = torch.cat([torch.ones_like(ids[..., :1], dtype=torch.bool), ids[..., :-1] == eos], dim=-1)
            reach = torch.where(begins, place, -1)[..., None, :].expand(*ids.shape, T).tril()
            return place - reach.amax(-1).clamp(min=0)

    @variant
    class FromTheMask:
        """Blocks on a diagonal, and positions as the number of places that a token may look at, less one."""

        def document_mask(ids, eos):
            T = ids.shape[-1]
            flat, out = ids.reshape(-1, T), []
            for row in flat:
                cuts = sorted({0, T, *((row == eos).nonzero().flatten() + 1).tolist()})
                blocks = [torch.ones(b - a, b - a).tril() for a, b in pairwise(cuts)]
                out.append(torch.block_diag(*blocks).bool())
            return torch.stack(out).reshape(*ids.shape, T)

        def document_positions(ids, eos):
            number = (ids == eos).long().cumsum(-1) - (ids == eos).long()
            return (number[..., :, None] == number[..., None, :]).tril().sum(-1) - 1
