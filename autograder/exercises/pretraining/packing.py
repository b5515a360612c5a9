"""Exercise 9: documents packed into rows, and the mask that keeps them apart."""

from typing import Any

import torch
from torch import Tensor

from autograder.compare import equal, true
from autograder.exercise import Exercise, check, mistake
from autograder.rng import Rng
from autograder.student import Student, type_name
from course_lib import pretraining


def drawn_documents(rng: Rng, count: int, longest: int, eos: int) -> list[list[int]]:
    """Documents of 1 to `longest` tokens; every token is above the end token, and no two documents begin alike."""
    return [[eos + 1 + n, *rng.ids(rng.randint(0, longest - 1), eos + 1, eos + 40)] for n in range(count)]


def rows_of(docs: list[list[int]], T: int, eos: int) -> Tensor:
    """Packed rows, token by token: each goes to the place that comes next."""
    tokens = [token for doc in docs for token in (*doc, eos)]
    rows = [[eos] * T for _ in range(-(-len(tokens) // T))]
    for place, token in enumerate(tokens):
        rows[place // T][place % T] = token
    return torch.tensor(rows, dtype=torch.int64)


def stretches(ids: list[int], eos: int) -> list[range]:
    """Where the documents of a row lie, each with the end token that closes it."""
    found, start = [], 0
    for place, token in enumerate(ids):
        if token == eos or place == len(ids) - 1:
            found.append(range(start, place + 1))
            start = place + 1
    return found


def mask_of(ids: list[int], eos: int) -> Tensor:
    """Who may look at whom, one pair at a time."""
    mask = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    for places in stretches(ids, eos):
        for query in places:
            for key in range(places.start, query + 1):
                mask[query, key] = True
    return mask


def positions_of(ids: list[int], eos: int) -> Tensor:
    """Places in the document, by counting."""
    counted = [place - places.start for places in stretches(ids, eos) for place in places]
    return torch.tensor(counted, dtype=torch.int64)


def expect_table(got: Any, want: Tensor, what: str) -> None:
    """A tensor of exactly these numbers or truth values; where one differs, say which."""
    true(isinstance(got, Tensor), f"{what} is {type_name(got)}, expected a tensor of shape {tuple(want.shape)}")
    true(tuple(got.shape) == tuple(want.shape), f"{what} has shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    true(got.dtype == want.dtype, f"{what} has dtype {got.dtype}, expected {want.dtype}")
    wrong = (got != want).nonzero()
    if len(wrong):
        at = tuple(wrong[0].tolist())
        said = f"at {list(at)}: {got[at].item()}, expected {want[at].item()}"
        true(False, f"{what} is wrong in {len(wrong)} of {want.numel()} places; {said}")


class DocumentMask(Exercise):
    """Fill rows of one length with documents of any length, and keep the documents apart again."""

    title = "Packing and document masks"
    difficulty = 1
    minutes = 20
    id = "document_mask"
    functions = ("pack", "document_mask", "document_positions")
    reference = pretraining
    hints = (
        "Write two short documents and their end tokens in one line on paper, cut it every T places, and mark who may "
        "look at whom. To which document does an end token belong?",
        "pack: one long list, the end token after every document, more end tokens until the length is a multiple of T, "
        "then .view(-1, T). Mask: number the documents along the row; two places may meet if their numbers are equal "
        "and the key is not later than the query. Positions: place minus the place where the document began.",
        "ends = (ids == eos).long(); number = ends.cumsum(-1) - ends. The mask: (number[..., :, None] == number[..., "
        "None, :]).tril(). Positions: starts = zeros; where the token before is eos, starts = place; place - "
        "starts.cummax(-1).values.",
    )

    @check(hint="All documents in one line, the end token after each. Cut every T places; fill the last row with it.")
    def packs_without_gaps_and_without_loss(self, student: Student, rng: Rng) -> None:
        cases = [([[11, 12], [13], [14, 15, 16], [17]], 6), (drawn_documents(rng, 7, 6, 5), 5)]
        cases += [([rng.ids(9, 6, 40), [7, 8]], 4), (drawn_documents(rng, 4, 3, 5), 16)]
        cases += [([[8, 9], [7]], 5), ([rng.ids(7, 6, 40), [7, 8, 9]], 6)]  # the last row is full without filling
        for docs, T in cases:
            lengths = ", ".join(str(len(doc)) for doc in docs)
            what = f"for documents of {lengths} tokens, T = {T} and eos = 5, the result"
            got, after = student.pack.with_arguments(docs, T, 5)
            expect_table(got, rows_of(docs, T, 5), what)
            equal(after[0], docs, what="pack must not change the documents: after the call they are other ones; it")

    @check(hint="Three conditions in one: same document, not later, and an end token belongs to what it ends.")
    def lets_nobody_look_into_another_document(self, student: Student, rng: Rng) -> None:
        drawn = rows_of(drawn_documents(rng, 6, 5, 3), 14, 3)[0].tolist()
        for ids in ([9, 3, 8, 7], [9, 8, 3, 7, 6, 3], drawn):
            expect_table(student.document_mask(torch.tensor(ids), 3), mask_of(ids, 3), f"the mask for {ids}, eos = 3,")
        rows = [[9, 3, 8, 7, 6], [9, 8, 7, 3, 6]]
        want = torch.stack([mask_of(row, 3) for row in rows])
        got = student.document_mask(torch.tensor(rows), 3)
        expect_table(got, want, f"for a batch of two rows, ids of shape [2, 5], {rows}, the mask")

    @check(hint="Count 0, 1, 2 ... and begin again after each end token. The row's first token has position 0.")
    def counts_positions_anew_in_every_document(self, student: Student, rng: Rng) -> None:
        drawn = rows_of(drawn_documents(rng, 6, 5, 3), 14, 3)[0].tolist()
        for ids in ([9, 8, 3, 7, 6, 3], [9, 3, 3, 8, 7], drawn):
            got = student.document_positions(torch.tensor(ids), 3)
            expect_table(got, positions_of(ids, 3), f"the result of document_positions for {ids}, eos = 3,")
        rows = [[9, 3, 8, 7, 6], [9, 8, 7, 3, 6]]
        want = torch.stack([positions_of(row, 3) for row in rows])
        got = student.document_positions(torch.tensor(rows), 3)
        expect_table(got, want, f"for a batch of two rows, ids of shape [2, 5], {rows}, the result")

    @mistake("adds a whole row of end tokens where the stream fills its rows exactly", of="pack")
    def extra_row(docs, T, eos):
        stream = [token for doc in docs for token in (*doc, eos)]
        return torch.tensor(stream + [eos] * (T - len(stream) % T), dtype=torch.int64).view(-1, T)

    @mistake("appends the end token to the caller's own lists; copy what you extend", of="pack")
    def changes_documents(docs, T, eos):
        for doc in docs:
            doc.append(eos)
        stream = [token for doc in docs for token in doc]
        return torch.tensor(stream + [eos] * (-len(stream) % T), dtype=torch.int64).view(-1, T)

    @mistake("gives every document a row of its own; most of such a row is filled with nothing", of="pack")
    def padded(docs, T, eos):
        rows = [(doc + [eos] * T)[:T] for doc in docs]
        return torch.tensor(rows)

    @mistake("drops the tail that does not fill a row; fill that row with end tokens instead", of="pack")
    def tail_dropped(docs, T, eos):
        stream = [token for doc in docs for token in (*doc, eos)]
        whole = len(stream) // T * T
        return torch.tensor(stream[:whole], dtype=torch.int64).view(-1, T)

    @mistake("joins documents without the end token; nothing tells where one stops", of="pack")
    def without_ends(docs, T, eos):
        stream = [token for doc in docs for token in doc]
        return torch.tensor(stream + [eos] * (-len(stream) % T)).view(-1, T)

    @mistake("puts the end token in front of each document; it is the last token of what it ends", of="pack")
    def ends_in_front(docs, T, eos):
        stream = [token for doc in docs for token in (eos, *doc)]
        return torch.tensor(stream + [eos] * (-len(stream) % T)).view(-1, T)

    @mistake("fills the last row with zeros; 0 is a token like any other, use the end token", of="pack")
    def filled_with_zeros(docs, T, eos):
        stream = [token for doc in docs for token in (*doc, eos)]
        return torch.tensor(stream + [0] * (-len(stream) % T)).view(-1, T)

    @mistake("starts a new row when a document does not fit; cut it, and go on in the next row", of="pack")
    def never_cuts(docs, T, eos):
        rows: list[list[int]] = [[]]
        for doc in docs:
            if rows[-1] and len(rows[-1]) + len(doc) + 1 > T:
                rows.append([])
            rows[-1] = (rows[-1] + doc + [eos])[:T]
        return torch.tensor([row + [eos] * (T - len(row)) for row in rows])

    @mistake("counts the end token to the next document, which then sees it", of="document_mask")
    def end_belongs_to_the_next(ids, eos):
        number = (ids == eos).cumsum(-1)
        return (number[..., :, None] == number[..., None, :]).tril()

    @mistake("is causal but does not stop at documents; all of the row's past is seen", of="document_mask")
    def only_causal(ids, eos):
        return torch.ones(*ids.shape, ids.shape[-1], dtype=torch.bool).tril()

    @mistake("keeps documents apart but shows the future within them", of="document_mask")
    def not_causal(ids, eos):
        mask = pretraining.document_mask(ids, eos)
        return mask | mask.mT

    @mistake("says True where a query may not look; here True means that it may", of="document_mask")
    def the_wrong_way_round(ids, eos):
        return ~pretraining.document_mask(ids, eos)

    @mistake("forbids a token to see itself", of="document_mask")
    def without_itself(ids, eos):
        return pretraining.document_mask(ids, eos).tril(-1)

    @mistake("swaps queries and keys: rows are queries, columns what they look at", of="document_mask")
    def transposed(ids, eos):
        return pretraining.document_mask(ids, eos).mT.contiguous()

    @mistake("cuts off the end token from its own document; it may look back at all of it", of="document_mask")
    def end_stands_alone(ids, eos):
        mask = pretraining.document_mask(ids, eos)
        alone = (ids == eos)[..., :, None] & ~torch.eye(ids.shape[-1], dtype=torch.bool)
        return mask & ~alone

    @mistake("takes len(ids) for T; of a batch [B, T] that is B, so ask for ids.shape[-1]", of="document_mask")
    def length_of_the_batch(ids, eos):
        ends = (ids == eos).long()
        number = ends.cumsum(-1) - ends
        return (number[..., :, None] == number[..., None, :]) & torch.ones(len(ids), len(ids)).tril().bool()

    @mistake("treats a batch as one long row; every row counts for itself", of="document_positions")
    def flattened(ids, eos):
        return pretraining.document_positions(ids.flatten(), eos)

    @mistake("goes on counting through the row; each document begins at 0", of="document_positions")
    def never_reset(ids, eos):
        return torch.arange(ids.shape[-1]).expand(ids.shape).contiguous()

    @mistake("begins at 1; the first position is 0", of="document_positions")
    def from_one(ids, eos):
        return pretraining.document_positions(ids, eos) + 1

    @mistake("begins again at the end token; it is the last of its document", of="document_positions")
    def reset_at_the_end_token(ids, eos):
        place = torch.arange(ids.shape[-1]).expand(ids.shape)
        return place - torch.where(ids == eos, place, 0).cummax(-1).values
