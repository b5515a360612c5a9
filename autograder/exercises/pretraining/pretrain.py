"""Exercise 10: a training run from a row of ids to a model, and the sampling that makes it write."""

from __future__ import annotations

import math

import torch

from autograder.compare import close, equal, true
from autograder.exercise import Exercise, check
from autograder.exercises.attention.positions import a_tensor
from autograder.exercises.pretraining.pretrain_parts import (
    ENTROPY,
    SCALES,
    alike,
    counted_on,
    counting_model,
    draw_languages,
    drawn_once,
    generator,
    habit_of,
    kind_of_draws,
    logits_of,
    look_at_zero,
    next_loss,
    rate,
    settings,
    trained,
)
from autograder.exercises.pretraining.pretrain_steps import Moves, kind_of_clipping, kind_of_pace, same_weights
from autograder.exercises.pretraining.pretrain_wrong import wrong_run, wrong_sample
from autograder.rng import Rng
from autograder.student import Student
from course_lib import pretraining


class Pretrain(Exercise):
    """Train a GPT on a long row of ids, watch it on ids that it never learns from, and let it write."""

    title = "Pretrain a tiny GPT"
    difficulty = 2
    minutes = 60
    functions = ("sample", "pretrain")
    reference = pretraining
    forbid = ("transformers", "course_lib.attention.training", "torch.optim.lr_scheduler")
    hints = (
        "Say aloud what happens in one step: draw places, read the windows, compare the logits with what follows, "
        "backward, shorten, set the rate, step. Which of these lines needs g? And which lines change when you only "
        "want to know how good the model is? For sample: what goes in each time, and what comes out at the end?",
        "Cut first: data[:cut] and data[cut:]. A window has T + 1 ids: the first T are the inputs, the last T the "
        "targets. torch.manual_seed with a number drawn from g makes the first weights and dropout follow from g. Set "
        "the rate in every group of optimizer.param_groups before optimizer.step(). To evaluate: model.eval(), no "
        "gradients, windows side by side, and back to model.train(). sample: keep the last context_length ids, take "
        "the logits at the last place, divide, softmax, draw, append.",
        "starts = torch.randint(cut - T, (cfg.batch_size,), generator=g); rows = train[starts[:, None] + "
        "torch.arange(T + 1)]; loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()). "
        "optimizer.zero_grad(); loss.backward(); nn.utils.clip_grad_norm_(model.parameters(), cfg.clip). Held out: n "
        "= (len(held_out) - 1) // T, inputs held_out[: n * T].view(n, T), targets held_out[1 : n * T + 1].view(n, T). "
        "sample: torch.multinomial((logits / temperature).softmax(-1), 1, generator=g), and argmax for 0.",
    )

    # A first step loads parts of torch that nothing before has needed: on a busy machine that takes long.
    @check(hint="Which id belongs to the logits at place t? Does the split keep the ids in order?", time_limit=30.0)
    def it_learns_what_comes_next(self, student: Student, rng: Rng) -> None:
        V = 7
        language, _ = draw_languages(rng, V)
        cfg = settings(V)
        model, log = trained(student, cfg, language.text(rng, 811), 21, generator(rng))
        text = language.text(rng, 401)
        loss = next_loss(student, model, text, cfg)
        best = logits_of(student, model, text[:400].view(50, 8), V).argmax(-1)
        habit = habit_of(best.flatten(), text[:400], language.likely)
        first, learned = log[0]["loss"], loss < ENTROPY + 1.0
        start = next((name for name, wrong in SCALES.items() if 0.8 < first / wrong / math.log(V) < 1.2), "elsewhere")
        student.conclude(f"{habit}, {'learned' if learned else 'not learned'}, first loss {start}")
        seen = f"on a new text of the same kind its loss is {loss:.2f} nats; who knows the rules has {ENTROPY:.2f}"
        true(learned, f"after 21 steps the model {habit}: {seen}, and who knows nothing {math.log(V):.2f}")
        message = (
            f"the first record's loss is {first:.2f}; a fresh model's mean loss is about ln {V} = {math.log(V):.2f}"
        )
        true(start == "about ln V", message)

    @check(hint="Which ids may a step draw its windows from? And on which of them is val_loss measured?")
    def the_last_tenth_is_never_learned_from(self, student: Student, rng: Rng) -> None:
        # The last tenth is written in another alphabet: whoever trains on it soon knows that one stays in it.
        one, other = draw_languages(rng, 7)[0], draw_languages(rng, 5)[0]
        cfg, V = settings(12), 12
        held_out = other.text(rng, 121) + 7
        model, log = trained(student, cfg, torch.cat([one.text(rng, 1089), held_out]), 14, generator(rng))
        logits = logits_of(student, model, (other.text(rng, 240) + 7).view(30, 8), V)
        share = logits.softmax(-1)[..., 7:].sum(-1).mean().item()
        own, said = next_loss(student, model, held_out, cfg), log[-1]["val_loss"]
        leaks, agrees = share > 0.7, abs(own - said) < 2e-3
        where = "that of the last tenth" if agrees else "far below it" if said < own - 1 else "another"
        reads = next_loss(student, model, one.text(rng, 161), cfg) < 1.5
        student.conclude(
            f"{'learned from' if leaks else 'never seen'}; val_loss {where}; {'reads' if reads else 'no order'}"
        )
        message = (
            f"the last tenth has symbols of its own; the model gives them {share:.0%}, as if it had trained on them"
        )
        true(not leaks, message)
        message = f"the last val_loss is {said:.3f}; the model's mean loss on the last tenth is {own:.3f}"
        true(agrees, f"{message}, with windows side by side")

    @check(hint="Dropout is for training. What has to happen before the held-out loss is measured, and after it?")
    def the_held_out_loss_is_that_of_the_model_in_use(self, student: Student, rng: Rng) -> None:
        V = 7
        language, _ = draw_languages(rng, V)
        circle = [0]
        while len(circle) < V:
            circle.append(language.likely[circle[-1]])
        # The same seven ids again and again: whatever windows are chosen, only dropout makes a difference.
        cfg, data = settings(V, dropout=0.5, context_length=V), torch.tensor(circle).repeat(100)
        model, log = trained(student, cfg, data, 8, generator(rng))
        first, second = (logits_of(student, model, data[None, :V], V) for _ in range(2))
        ready = torch.equal(first, second)
        student.conclude("ready for use" if ready else "drops out after training")
        true(ready, "the returned model gives other logits at each call: it still drops out; return it ready for use")
        own, said = next_loss(student, model, data[630:], cfg), log[-1]["val_loss"]
        agrees = abs(own - said) < 0.1
        student.conclude("val_loss without dropout" if agrees else "another val_loss")
        true(agrees, f"val_loss is {said:.3f}; the model in use, without dropout, has {own:.3f} on the last tenth")

    @check(hint="Whoever looks more often must not train differently: who takes from g, and which mode is left behind?")
    def looking_more_often_changes_nothing(self, student: Student, rng: Rng) -> None:
        language, _ = draw_languages(rng, 7)
        data, seed = language.text(rng, 210), rng.getrandbits(40)

        def losses(dropout: float, every: int) -> list[float]:
            # A rate of nearly nothing: the losses tell what was read and what was dropped, not what was learned.
            cfg = settings(7, dropout=dropout, eval_every=every, warmup=0, lr=1e-9)
            _, log = trained(student, cfg, data, 2, torch.Generator().manual_seed(seed))
            return [record["loss"] for record in log]

        plain, again = losses(0.0, 1000), losses(0.0, 1000)
        student.conclude("repeatable" if alike(plain, again) else "not repeatable")
        for dropout in (0.0, 0.5):
            once, always = losses(dropout, 1000) if dropout else again, losses(dropout, 1)
            same, drops = alike(once, always), not alike(always[1:], plain[1:])
            student.conclude(f"{'the same' if same else 'other'} losses, {'dropping' if drops else 'not dropping'}")
            few, many = (" ".join(f"{loss:.4f}" for loss in found) for found in (once, always))
            message = f"with dropout {dropout}, the training losses are {few} if the run is evaluated once, and {many}"
            true(same, f"{message} if it is evaluated after each step")

    @check(hint="Write down the rate of the first steps, the peak and the last one. Who hands it to the optimiser?")
    def the_learning_rate_rises_and_falls(self, student: Student, rng: Rng) -> None:
        steps, warmup, peak = rng.randint(8, 9), rng.randint(2, 3), rng.choice((1e-5, 2e-5))
        # The same id throughout, and small steps: all gradients are the same, and Adam moves weights by the rate.
        cfg = settings(7, lr=peak, warmup=warmup, eval_every=1, clip=1e6)
        moves = Moves()
        _, log = trained(student, cfg, torch.full((210,), rng.randrange(7)), steps, generator(rng), moves)
        rates = [record["lr"] for record in log]
        student.conclude(" ".join(f"{value / peak:.3f}" for value in rates))
        want = [rate(step, warmup, steps, peak) for step in range(steps)]
        close(rates, want, rtol=2e-3, atol=1e-12, what="the log's lr, step by step:")
        count = len(moves.states)
        true(count == steps, f"observe was called {count} times; with eval_every = 1 it is {steps}")
        kind = kind_of_pace(moves, want, peak)
        student.conclude(f"moves {kind}")
        paces = " ".join(f"{move / lr:.2f}" for move, lr in zip(moves.usual(), want[1:], strict=True))
        message = f"on a text of one id only, steps 2, 3 ... move most weights by {paces} times the step's rate"
        true(kind == "as the log says", f"{message}, expected 1.00: {kind}")

    @check(hint="Between backward and step: all gradients together must not be longer than cfg.clip.")
    def gradients_are_cut_to_the_clip(self, student: Student, rng: Rng) -> None:
        language, _ = draw_languages(rng, 7)
        moves, cfg = Moves(), settings(7, clip=1e-8, lr=0.02, warmup=0, eval_every=1)
        trained(student, cfg, language.text(rng, 210), 3, generator(rng), moves)
        true(len(moves.states) == 3, f"observe was called {len(moves.states)} times; with eval_every = 1 it is 3")
        kind = kind_of_clipping(moves, cfg.lr)
        student.conclude(f"cut {kind}")
        true(kind == "all together", f"with cfg.clip = 1e-8 the weights move too far: gradients are cut {kind}")

    @check(hint="The first weights, the windows, dropout: each needs random numbers. Where do yours come from?")
    def everything_random_follows_from_g(self, student: Student, rng: Rng) -> None:
        language, _ = draw_languages(rng, 7)
        data, seed = language.text(rng, 210), rng.getrandbits(40)
        losses, first = [], []
        for number in (seed, seed, seed + 1):
            g, moves = torch.Generator().manual_seed(number), Moves()
            _, log = trained(student, settings(7, dropout=0.2, lr=1e-9, warmup=0, eval_every=1), data, 2, g, moves)
            losses.append([record["loss"] for record in log])
            first += moves.states[:1]
        again, other = losses[0] == losses[1], losses[0] != losses[2]
        begins = len(first) == 3 and not same_weights(first[0], first[2])
        with_another = (
            f"{'unlike' if other else 'alike'} with another g, {'as' if begins else 'not as'} the first weights"
        )
        student.conclude(f"{'alike' if again else 'unlike'} again, {with_another}")
        true(again, f"two runs from the same g had the losses {losses[0]} and {losses[1]}")
        true(other, "two runs from different generators had exactly the same losses: nothing follows from g")
        true(begins, "two runs from different generators had the same first weights: they have to follow from g")

    @check(
        hint="The model sees the last context_length ids, its logits at the last place count, the new id is appended."
    )
    def the_likeliest_token_is_appended_each_time(self, student: Student, rng: Rng) -> None:
        V, length, n = rng.randint(11, 15), rng.randint(4, 5), rng.randint(9, 11)
        ids = torch.tensor([rng.ids(6, 0, V - 1) for _ in range(3)])
        got = student.sample(counting_model(V), ids, n, length, 0.0, generator(rng))
        equal(list(a_tensor(got, "sample").shape), [3, 6 + n], what="the shape of the text, the beginning included,")
        close(got, counted_on(ids, n, length, V), what="at temperature 0 the text", dtype=False)

    @check(hint="Logits over temperature, then the softmax: what is likely gets likelier below 1. Then draw, with g.")
    def tokens_are_drawn_by_the_tempered_probabilities(self, student: Student, rng: Rng) -> None:
        logits = torch.tensor([0.0, 0.8, 1.6, -0.8, -8.0])[torch.tensor(rng.sample(range(5), 5))]
        look_at_zero(student, logits, generator(rng))
        for temperature in (1.0, rng.choice((0.4, 0.5)), rng.choice((2.0, 2.5))):
            drawn = drawn_once(student, logits, 4000, temperature, generator(rng))
            kind = kind_of_draws(torch.bincount(drawn, minlength=5)[:5], logits.double(), temperature)
            student.conclude(f"draws: {kind}")
            shares = " ".join(f"{share:.2f}" for share in (torch.bincount(drawn, minlength=5) / len(drawn)).tolist())
            want = " ".join(f"{p:.2f}" for p in (logits / temperature).softmax(-1).tolist())
            message = f"at temperature {temperature} its shares are {shares} (rule: {kind}), the probabilities {want}"
            true(kind == "right" or (kind.startswith("as at") and temperature == 1), message)
        seed = rng.getrandbits(40)
        texts = [
            drawn_once(student, logits, 60, 1.0, torch.Generator().manual_seed(number))
            for number in (seed, seed, seed + 1)
        ]
        again, other = torch.equal(texts[0], texts[1]), not torch.equal(texts[0], texts[2])
        student.conclude(f"{'alike' if again else 'unlike'} again, {'unlike' if other else 'alike'} with another g")
        true(
            again and other, f"the same g gave {'the same' if again else 'another'} text; the draws must follow from g"
        )

    no_shift = wrong_run("compares the logits with the inputs themselves; the target is what comes next", target="same")
    plus_one = wrong_run("adds 1 to the ids; shifted by one place is meant, not by one in value", target="plus one")
    two_ahead = wrong_run("shifts twice, and learns the token after the next", target="two ahead")
    backwards = wrong_run("shifts the wrong way: it learns which token came before", target="previous")
    shuffled = wrong_run("mixes the ids before it splits them; then no order is left to learn", split="shuffled")
    sums = wrong_run("logs the sum of the losses; the mean over the windows' tokens is asked", reports="sum")
    bits = wrong_run("logs bits; nats are asked, which is what cross_entropy gives", reports="bits")
    leak = wrong_run("draws training windows from all of the data, the held-out tenth included", train_on="all")
    judged_on_training = wrong_run(
        "measures val_loss on ids that it trains on; the last tenth is held out for that", validate_on="train"
    )
    with_dropout = wrong_run(
        "measures val_loss with dropout; the model belongs in evaluation mode then", evaluation="dropout"
    )
    stays = wrong_run(
        "stays in evaluation mode after the first look: from then on nothing is dropped any more", evaluation="stays"
    )
    not_ready = wrong_run(
        "returns the model in training mode; what it writes would be written with dropout", returned="train"
    )
    random_looks = wrong_run(
        "draws the held-out windows with g: then how often you look changes the training", evaluation="random"
    )
    constant = wrong_run("keeps the learning rate up after the warm-up; it goes down to a tenth", schedule="constant")
    cold = wrong_run("begins with the full learning rate; the warm-up comes first", schedule="no warm-up")
    one_ahead = wrong_run(
        "takes the rate of the step after this one; the first step has number 0", schedule="one ahead"
    )
    late = wrong_run(
        "sets the rate when the step is done; each step then takes the rate of the one before", schedule="late"
    )
    piles_up = wrong_run(
        "does not clear the gradients: those of all earlier steps are added (optimizer.zero_grad())", clears=False
    )
    misses = wrong_run("never reaches the floor: the last step is number steps - 1", schedule="misses the floor")
    to_zero = wrong_run("lets the rate fall to 0; the floor is a tenth of cfg.lr", schedule="to zero")
    only_logged = wrong_run(
        "computes the rate for the log only: the optimiser never hears of it", schedule="only logged"
    )
    not_clipped = wrong_run("does not cut the gradients to cfg.clip (or does so when the step is done)", clip="no")
    each_clipped = wrong_run(
        "cuts the gradient of each tensor for itself; cfg.clip is for all of them together", clip="each"
    )
    values_clipped = wrong_run(
        "cuts each number of the gradients for itself; cfg.clip is for the norm of all together", clip="values"
    )
    own_stream = wrong_run("takes its random numbers from torch's own stream instead of g", randomness="torch")
    same_seed = wrong_run("sets its own seed: all runs are alike, whatever g is", randomness="constant")
    same_start = wrong_run(
        "seeds torch with a number of its own: first weights and dropout are the same for every g",
        randomness="windows only",
    )
    argmax = wrong_sample("always takes the likeliest token; draw one by the probabilities", rule="argmax")
    after_softmax = wrong_sample(
        "divides the probabilities by the temperature, or does not use it at all; the softmax comes last", rule="after"
    )
    ignores_temperature = wrong_sample("does not look at the temperature, not even at 0", rule="ignored")
    multiplied = wrong_sample("multiplies by the temperature; divide", rule="times")
    divides_by_zero = wrong_sample("divides by a temperature of 0; that one means: take the likeliest", rule="divides")
    not_from_g = wrong_sample("draws without generator=g", seeded=False)
    first_place = wrong_sample("reads the logits at the first place; the next token is predicted at the last", place=0)
    first_ids = wrong_sample("keeps the first context_length ids; the last ones count", cut="first")
    too_long = wrong_sample("shows the model the whole text; it has positions for context_length ids", cut="all")
    never_fed = wrong_sample(
        "shows the model the beginning again and again, without the tokens drawn since", feeds=False
    )
    without_beginning = wrong_sample("returns the new tokens only; the beginning belongs to the text", keeps="new")
