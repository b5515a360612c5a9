"""Hidden checks of exercise 4, and other ways to solve it."""

from __future__ import annotations

import torch

from autograder.compare import fail
from autograder.exercise import check, variant
from autograder.exercises.pretraining import masking as public
from autograder.exercises.pretraining.masking_parts import (
    draw_ids,
    examine,
    facts,
    fates,
    fingerprint,
    five_sigma,
    hide,
    judge,
    stream,
)
from autograder.rng import Rng
from autograder.student import Student

EVERYTHING = ("labels", "share", "special", "fate", "random")


class MlmMask(public.MlmMask):
    @check(hint="p is 0.15 unless given, and the shares of the chosen tokens are 80, 10 and 10 percent.")
    def the_shares_are_exact(self, student: Student, rng: Rng) -> None:
        ids = draw_ids(rng, 200, 500, low=3, high=99)
        inputs, labels, untouched = hide(student, ids, 2, 100, g=stream(rng))
        ordinary = torch.arange(100) != 2
        nowhere = torch.zeros_like(ids, dtype=torch.bool)
        coarse = facts(ids, inputs, labels, 2, ~nowhere, nowhere, ordinary, 0.15, 0.05, untouched)
        chosen = labels != -100
        lucky = 0.1 / 99
        count = int(chosen.sum())
        want = (0.8, 0.1 - lucky, 0.1 + lucky)
        shares = zip(("[MASK]", "replaced", "kept"), fates(ids, inputs, chosen, 2), want, strict=True)
        wrong = [
            f"{got:.2%} of the chosen tokens are {name}, expected {expected:.2%}"
            for name, got, expected in shares
            if abs(got - expected) > five_sigma(expected, max(1, count))
        ]
        if abs(count / ids.numel() - 0.15) > five_sigma(0.15, ids.numel()):
            wrong.insert(0, f"{count / ids.numel():.2%} of the tokens were chosen, expected 15%")
        student.conclude("; ".join(words for _, words, _ in coarse) or ("slightly off" if wrong else "nothing wrong"))
        judge(coarse, *EVERYTHING)
        if wrong:
            fail(wrong[0])

    @check(hint="Every place of a text is chosen equally often, and every ordinary token is put in equally often.")
    def no_place_and_no_token_is_preferred(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        ids = draw_ids(rng, 3000, 12, low=2, high=9)
        inputs, labels, _ = hide(student, ids, 1, 10, g=stream(rng), p=0.6, special_ids=(0,))
        chosen = labels != -100
        by_place = chosen.float().mean(0)
        replaced = inputs[chosen & (inputs != 1) & (inputs != ids)]
        by_token = torch.bincount(replaced.clamp(0, 9), minlength=10)[2:] / max(1, len(replaced))
        uneven = (by_place - 0.6).abs().max() > five_sigma(0.6, 3000)
        partial = len(replaced) < 500 or (by_token - 1 / 8).abs().max() > five_sigma(1 / 8, len(replaced))
        student.conclude(f"places {'uneven' if uneven else 'even'}, tokens {'uneven' if partial else 'even'}")
        if uneven:
            at = int((by_place - 0.6).abs().argmax())
            fail(f"place {at} was chosen in {by_place[at]:.1%} of the texts, expected 60%")
        if partial:
            fail("the random tokens are not spread evenly over the ordinary ones")

    @check(hint="Try p = 0 and p = 1, one text without a batch, more dimensions, and a text that is all special.")
    def extreme_inputs_work(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        for shape in ((1, 7), (9,), (2, 3, 5)):
            ids = draw_ids(rng, *shape, low=2, high=9)
            for p in (0.0, 1.0):
                judge(examine(student, rng, ids, 1, 10, p=p), *EVERYTHING)
                judge(examine(student, rng, ids, 1, 10, p=p, special_ids=(0, 5)), *EVERYTHING)
            everywhere = torch.ones(shape, dtype=torch.bool)
            judge(examine(student, rng, ids, 1, 10, special_mask=everywhere, p=1.0), *EVERYTHING)

    @check(hint="special_mask and special_ids may come together, and without g as well.")
    def both_kinds_of_special_at_once(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        ids = draw_ids(rng, 30, 400, low=0, high=29)
        places = draw_ids(rng, 30, 400, low=0, high=3) == 0
        for draws in (True, False):
            found = examine(student, rng, ids, 29, 30, special_mask=places, special_ids=(0, 7, 8), p=0.7, draws=draws)
            judge(found, *EVERYTHING)

    @variant
    class OneDraw:
        """One random number decides about both questions."""

        def mlm_mask(ids, mask_id, vocab_size, special_mask=None, g=None, p=0.15, special_ids=()):
            u = torch.rand(ids.shape, generator=g)
            if special_mask is not None:
                u = u.masked_fill(special_mask, 2.0)
            for special in special_ids:
                u[ids == special] = 2.0
            candidates = sorted(set(range(vocab_size)) - {mask_id} - set(special_ids))
            picks = torch.tensor(candidates)[torch.randint(0, len(candidates), ids.shape, generator=g)]
            inputs, labels = ids.clone(), ids.clone()
            inputs[u < 0.9 * p] = picks[u < 0.9 * p]
            inputs[u < 0.8 * p] = mask_id
            labels[u >= p] = -100
            return inputs, labels

    @variant
    class CoinAfterCoin:
        """A coin for the choice, one for the mask, and one for half of what is left."""

        def mlm_mask(ids, mask_id, vocab_size, special_mask=None, g=None, p=0.15, special_ids=()):
            chance = torch.full(ids.shape, float(p))
            if special_mask is not None:
                chance = chance * (~special_mask)
            is_special = (ids[..., None] == torch.tensor([*special_ids, -1])).any(-1)
            chosen = torch.bernoulli(chance.masked_fill(is_special, 0.0), generator=g).bool()
            labels = ids.masked_fill(~chosen, -100)
            inputs = ids.clone()
            masked = torch.bernoulli(torch.full(ids.shape, 0.8), generator=g).bool() & chosen
            inputs[masked] = mask_id
            swapped = torch.bernoulli(torch.full(ids.shape, 0.5), generator=g).bool() & chosen & ~masked
            weights = torch.ones(vocab_size)
            weights[[mask_id, *special_ids]] = 0
            if swapped.any():
                drawn = torch.multinomial(weights, int(swapped.sum()), replacement=True, generator=g)
                inputs[swapped] = drawn
            return inputs, labels

    @variant
    class Indices:
        """Works on the list of chosen places only."""

        def mlm_mask(ids, mask_id, vocab_size, special_mask=None, g=None, p=0.15, special_ids=()):
            flat = ids.flatten()
            open_places = torch.ones_like(flat, dtype=torch.bool)
            if special_mask is not None:
                open_places = torch.logical_not(special_mask).flatten()
            for special in special_ids:
                open_places = open_places & (flat != special)
            candidates = open_places.nonzero().squeeze(1)
            places = candidates[torch.rand(len(candidates), generator=g) < p]
            inputs, labels = flat.clone(), torch.full_like(flat, -100)
            labels[places] = flat[places]
            fate = torch.randint(0, 10, (len(places),), generator=g)
            inputs[places[fate < 8]] = mask_id
            swap = places[fate == 8]
            allowed = torch.tensor([t for t in range(vocab_size) if t != mask_id and t not in tuple(special_ids)])
            inputs[swap] = allowed[torch.randint(0, allowed.numel(), swap.shape, generator=g)]
            return inputs.view(ids.shape), labels.view(ids.shape)
