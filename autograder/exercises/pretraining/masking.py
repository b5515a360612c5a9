"""Exercise 4: the holes of a masked language model, after BERT."""

from __future__ import annotations

import torch

from autograder.compare import SEVERAL_CALLS, fail
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.pretraining.masking_parts import draw_ids, examine, fingerprint, flawed, hide, judge, stream
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


class MlmMask(Exercise):
    """Choose tokens at random, hide most of them, and say in the labels what a masked language model must guess."""

    title = "Masked language modelling"
    difficulty = 2
    minutes = 30
    id = "mlm_mask"
    functions = ("mlm_mask",)
    reference = pretraining
    forbid = ("transformers",)
    hints = (
        "There are two questions about each token, and each needs random numbers of its own: is it chosen? And if so, "
        "which of the three things happens to it? The labels depend on the first question only.",
        "Draw a number from 0 to 1 for each place and compare it with p: that is `chosen`; take special places and "
        "special tokens out of it. labels: the old token where chosen, else -100. Draw a second number for each place: "
        "below 0.8 the mask, from 0.8 to 0.9 a random token, above that nothing changes. torch.where makes copies.",
        "chosen = torch.rand(ids.shape, generator=g) < p; chosen &= ~special_mask (if there is one); chosen &= "
        "~torch.isin(ids, torch.tensor(list(special_ids)).to(ids)); fate = torch.rand(ids.shape, generator=g); "
        "candidates = all ids but mask_id and special_ids; picks = candidates[torch.randint(len(candidates), "
        "ids.shape, generator=g)]; labels = torch.where(chosen, ids, -100); inputs = torch.where(chosen & (fate < "
        "0.8), mask_id, ids); then picks where chosen & (fate >= 0.8) & (fate < 0.9).",
    )

    @check(hint="labels: the old token wherever one was chosen, -100 elsewhere. inputs differ from ids there only.")
    def labels_hold_what_stood_at_the_chosen_places(self, student: Student, rng: Rng) -> None:
        ids = draw_ids(rng, 40, 300, low=5, high=999)
        judge(examine(student, rng, ids, 4, 1000, p=0.4), "labels")

    @check(hint="Each token is chosen with probability p, for itself: torch.rand(ids.shape, generator=g) < p.")
    def chooses_each_token_with_probability_p(self, student: Student, rng: Rng) -> None:
        ids = draw_ids(rng, 50, 400, low=5, high=999)
        found = examine(student, rng, ids, 4, 1000, p=0.5)
        found += examine(student, rng, ids, 4, 1000)
        judge(found, "share")

    @check(hint="Take special places and special tokens out of what was chosen, before anything happens to them.")
    def never_chooses_what_is_special(self, student: Student, rng: Rng) -> None:
        ids = draw_ids(rng, 20, 300, low=0, high=19)
        padding = torch.arange(300) >= torch.tensor(rng.ids(20, 100, 290))[:, None]
        found = examine(student, rng, ids, 19, 20, special_mask=padding, p=0.5)
        found += examine(student, rng, ids, 19, 20, special_ids=(0, 1, rng.randint(5, 9)), p=0.5)
        judge(found, "special")

    @check(
        points=2,
        hint="Of the chosen tokens 80% become mask_id, 10% a random token, 10% stay. A second random number decides.",
    )
    def eighty_ten_ten(self, student: Student, rng: Rng) -> None:
        ids = draw_ids(rng, 50, 400, low=5, high=999)
        judge(examine(student, rng, ids, 4, 1000, p=0.5), "fate")

    @check(hint="A random token is any but mask_id and those of special_ids, all alike; the old one is among them.")
    def random_tokens_are_ordinary_ones(self, student: Student, rng: Rng) -> None:
        found = examine(student, rng, draw_ids(rng, 40, 300, low=5, high=999), 4, 1000, p=0.5)
        found += examine(student, rng, draw_ids(rng, 100, 500, low=0, high=1), 2, 3, p=0.9, tolerance=0.025)
        found += examine(student, rng, draw_ids(rng, 40, 300, low=2, high=3), 4, 5, special_ids=(0, 1), p=0.9)
        judge(found, "random", "fate")

    @check(hint="All random numbers come from g: the same seed gives the same holes, another seed gives others.")
    def every_call_draws_anew_and_from_g(self, student: Student, rng: Rng) -> None:
        fingerprint(student, rng)
        ids = draw_ids(rng, 4, 200, low=5, high=999)
        seed = rng.getrandbits(32)
        same = [hide(student, ids, 4, 1000, g=torch.Generator().manual_seed(seed), p=0.5)[:2] for _ in range(2)]
        other = hide(student, ids, 4, 1000, g=stream(rng), p=0.5)[:2]
        unseeded = [hide(student, ids, 4, 1000, p=0.5)[1] for _ in range(2)]
        places = [torch.equal(same[0][1] == -100, labels == -100) for labels in (other[1], same[1][1])]
        fates = torch.equal(same[0][0], same[1][0])
        again = torch.equal(*unseeded)
        student.conclude(f"other seed {places[0]}, same seed {places[1]} {fates}, no seed {again}")
        if places[0]:
            problem = "two generators with different seeds chose the same places; each epoch would have the same holes"
        elif not places[1]:
            problem = "two generators with the same seed chose different places; draw all random numbers from g"
        elif not fates:
            problem = "two generators with the same seed put different tokens in; draw these from g as well"
        elif again:
            problem = "without g, two calls chose the same places; each epoch needs holes of its own"
        else:
            return
        fail(problem, SEVERAL_CALLS)

    @mistake("gives every token a label; the loss counts only where a token was chosen, -100 elsewhere")
    def a_label_everywhere(*args, **options):
        return flawed(*args, **options, label=lambda chosen, inputs: torch.ones_like(chosen))

    @mistake("gives a label only where the input changed; the 10% that stay are asked for, too")
    def a_label_where_it_changed(ids, *args, **options):
        return flawed(ids, *args, **options, label=lambda chosen, inputs: inputs != ids)

    @mistake("gives a label only where [MASK] stands; replaced and unchanged tokens are asked for, too")
    def a_label_at_masks_only(ids, mask_id, *args, **options):
        return flawed(ids, mask_id, *args, **options, label=lambda chosen, inputs: chosen & (inputs == mask_id))

    @mistake("swaps the two: -100 where a token was chosen, and labels at all the others")
    def labels_inverted(*args, **options):
        return flawed(*args, **options, label=lambda chosen, inputs: ~chosen)

    @mistake("shifts the labels by one, as for the next token; a masked model answers at the place of the hole itself")
    def labels_shifted(*args, **options):
        inputs, labels = flawed(*args, **options)
        return inputs, torch.cat([labels[..., 1:], torch.full_like(labels[..., :1], -100)], dim=-1)

    @mistake("writes into ids and reads the labels from there: they hold what was put in, not what stood there")
    def labels_from_what_was_written(ids, *args, **options):
        inputs, labels = flawed(ids, *args, **options)
        ids.copy_(inputs)
        return ids, torch.where(labels == -100, labels, ids)

    @mistake("writes into ids; then the text is spoilt, and the next epoch sees today's holes")
    def writes_into_ids(ids, *args, **options):
        inputs, labels = flawed(ids, *args, **options)
        ids.copy_(inputs)
        return ids, labels

    @mistake("always chooses 15%, whatever p says")
    def fifteen_percent(ids, mask_id, vocab_size, special_mask=None, g=None, p=0.15, special_ids=()):
        return flawed(ids, mask_id, vocab_size, special_mask, g, 0.15, special_ids)

    @mistake("chooses the same places in all texts of a batch; draw a number for each place of ids")
    def same_places_in_all_texts(*args, **options):
        return flawed(*args, **options, one_row=True)

    @mistake("chooses padding and other places where special_mask is True; there is nothing to learn there")
    def chooses_padding(*args, **options):
        return flawed(*args, **options, forget_places=True)

    @mistake("takes special_mask the wrong way round: True is where nothing may be chosen")
    def only_special_places(*args, **options):
        return flawed(*args, **options, only_special_places=True)

    @mistake("chooses tokens of special_ids; nobody should have to guess those")
    def chooses_special_ids(*args, **options):
        return flawed(*args, **options, forget_ids=True)

    @mistake("turns all chosen tokens into [MASK]; 10% become a random token and 10% stay")
    def all_masked(*args, **options):
        return flawed(*args, **options, cuts=(1.1, 1.1))

    @mistake("leaves none of the chosen tokens as it was: 80% and 20%, instead of 80%, 10% and 10%")
    def none_kept(*args, **options):
        return flawed(*args, **options, cuts=(0.8, 1.1))

    @mistake("replaces none of the chosen tokens by a random one: 80% and 20%, instead of 80%, 10% and 10%")
    def none_replaced(*args, **options):
        return flawed(*args, **options, cuts=(0.8, 0.8))

    @mistake("takes 10% of what the mask has left over, which is 2%; of all chosen tokens 10% become a random one")
    def ten_percent_of_the_rest(*args, **options):
        return flawed(*args, **options, cuts=(0.8, 0.82))

    @mistake(
        "draws anew for the random tokens and writes over masks: 72% instead of 80% become [MASK]; draw once for all"
    )
    def a_second_draw(*args, **options):
        return flawed(*args, **options, second_draw=True)

    @mistake("swaps the shares: 10% become [MASK] and 80% a random token")
    def shares_swapped(*args, **options):
        return flawed(*args, **options, cuts=(0.1, 0.9))

    @mistake("draws one random token and puts it everywhere; each place gets a token of its own")
    def one_token_for_all(*args, **options):
        return flawed(*args, **options, one_token=True)

    @mistake("draws random tokens from the whole vocabulary; [MASK] and special tokens must not be among them")
    def from_the_whole_vocabulary(*args, **options):
        return flawed(*args, **options, never=set())

    @mistake("draws random tokens among which are those of special_ids")
    def replaces_by_special_ids(ids, mask_id, *args, **options):
        return flawed(ids, mask_id, *args, **options, never={mask_id})

    @mistake("draws again until the random token is another one; it may be the old one, like any other")
    def never_the_old_one(*args, **options):
        return flawed(*args, **options, must_differ=True)

    @mistake("sets a seed of its own; so each epoch has the same holes")
    def same_mask_every_epoch(*args, **options):
        return flawed(*args, **options, generator=lambda g: torch.Generator().manual_seed(0))

    @mistake("does not use g; random numbers without it cannot be drawn again")
    def ignores_g(*args, **options):
        return flawed(*args, **options, generator=lambda g: None)

    @mistake("draws the random tokens without g")
    def tokens_without_g(*args, **options):
        return flawed(*args, **options, tokens_without_g=True)
