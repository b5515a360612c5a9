"""Hidden part of exercise 10."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.compare import close, equal, true
from autograder.exercise import check, variant
from autograder.exercises.attention.positions import a_tensor
from autograder.exercises.pretraining import pretrain as public
from autograder.exercises.pretraining.pretrain_parts import (
    ENTROPY,
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
    settings,
    trained,
)
from autograder.rng import Rng
from autograder.student import Student
from course_lib import attention


class Pretrain(public.Pretrain):
    @check(points=2, hint="More steps, more symbols: how far is it still from what the rules of the language allow?")
    def it_comes_close_to_the_entropy_of_the_language(self, student: Student, rng: Rng) -> None:
        V = 7
        language, _ = draw_languages(rng, V)
        cfg = settings(V, warmup=5)
        model, log = trained(student, cfg, language.text(rng, 1001), 28, generator(rng))
        text = language.text(rng, 401)
        loss, said = next_loss(student, model, text, cfg), log[-1]["val_loss"]
        best = logits_of(student, model, text[:400].view(50, 8), V).argmax(-1).flatten()
        close_enough = loss < ENTROPY + 0.75
        student.conclude(f"{habit_of(best, text[:400], language.likely)}, {'close' if close_enough else 'far'}")
        bits, limit = loss / math.log(2), (ENTROPY + 0.75) / math.log(2)
        true(
            close_enough,
            f"after 28 steps it has {bits:.2f} bits a symbol on a new text, expected less than {limit:.2f}",
        )
        honest = abs(said - loss) < 0.5
        student.conclude("honest" if honest else "not honest")
        true(honest, f"its val_loss is {said:.2f} nats, its loss on a new text of the same kind {loss:.2f}")

    @check(hint="The length of the data need not be a multiple of ten or of T, nor the steps one of eval_every.")
    def the_log_and_observe_tell_the_same_story(self, student: Student, rng: Rng) -> None:
        every, steps = rng.randint(2, 3), 7
        language, _ = draw_languages(rng, 7)
        data = language.text(rng, 500 + rng.randint(1, 9))
        cfg = settings(7, eval_every=every, context_length=rng.randint(5, 7))
        seen = {}
        model, log = trained(student, cfg, data, steps, generator(rng), lambda step, state: seen.update({step: state}))
        due = [step for step in range(1, steps + 1) if step % every == 0 or step == steps]
        with student.off_the_record():
            final = model.state_dict()
        looked = [record["step"] for record in log if "val_loss" in record]
        student.conclude(f"evaluated {looked}, observed {list(seen)}")
        equal(looked, due, what=f"with eval_every = {every}, the steps with a val_loss:")
        equal(list(seen), due, what="the steps at which observe was called:")
        last = seen[steps]
        true(
            isinstance(last, dict) and isinstance(final, dict) and last.keys() == final.keys(),
            "what observe was given has other names than the model's state_dict",
        )
        close([last[name] for name in final], list(final.values()), what="the last weights that observe was given:")
        moved = any(not torch.equal(seen[due[0]][name], last[name]) for name in final)
        student.conclude("weights moved" if moved else "weights stood still")
        true(moved, f"the weights of step {due[0]} are those of step {steps}")

    @check(hint="Try one row, n = 0, a beginning longer than the context, and a model that was trained.")
    def it_writes_with_any_model_and_beginning(self, student: Student, rng: Rng) -> None:
        for B, T, n, length in ((1, 1, 12, 3), (2, 9, 0, 4), (4, 7, 1, 7), (2, 3, 5, 1)):
            V = rng.randint(8, 12)
            ids = torch.tensor([rng.ids(T, 0, V - 1) for _ in range(B)])
            got, after = student.sample.with_arguments(counting_model(V), ids, n, length, 0.0, generator(rng))
            what = f"{n} tokens after {T}, with a context of {length}: the text"
            close(a_tensor(got, "sample"), counted_on(ids, n, length, V), what=what, dtype=False)
            close(after[1], ids, what="the beginning that it was given,")
        language, _ = draw_languages(rng, 7)
        model, _ = trained(student, settings(7), language.text(rng, 811), 14, generator(rng))
        start = torch.tensor([[name] for name in range(7)])
        with student.off_the_record():
            text = a_tensor(student.sample(model, start, 20, 8, 0.7, generator(rng)), "sample")
        true(text.shape == (7, 21), f"20 tokens after 1 have shape {tuple(text.shape)}, expected (7, 21)")
        known = torch.tensor([language.likely, language.unlikely])[:, text[:, :-1]] == text[:, 1:]
        share = known.any(0).double().mean().item()
        student.conclude("writes the language" if share > 0.5 else "writes something else")
        true(
            share > 0.5, f"{share:.0%} of what a trained model writes follows the rules of its language, expected > 50%"
        )

    @check(hint="Very large logits, a very small temperature: nothing may overflow, and rows are drawn one by one.")
    def extreme_temperatures_and_logits(self, student: Student, rng: Rng) -> None:
        order = torch.tensor(rng.sample(range(4), 4))
        look_at_zero(student, torch.tensor([0.3, 0.1, -0.2, 0.25]), generator(rng))
        for logits, temperature in (
            (torch.tensor([700.0, 701.0, 699.5, -800.0]), 1.0),
            (torch.tensor([0.3, 0.1, -0.2, 0.25]), 0.05),
            (torch.tensor([5.0, -5.0, 0.0, -2.0]), 50.0),
        ):
            drawn = drawn_once(student, logits[order], 3000, temperature, generator(rng))
            kind = kind_of_draws(torch.bincount(drawn, minlength=4), logits[order].double(), temperature)
            student.conclude(f"draws: {kind}")
            true(kind == "right", f"logits {logits[order].tolist()} at temperature {temperature} are drawn by: {kind}")

    @variant
    class OneWindowAtATime:
        """Windows by slicing, gradients cut by hand, held-out windows one by one, a cumulative sum to draw from."""

        def sample(model, ids, n, context_length, temperature=1.0, g=None):
            rows = [row.tolist() for row in ids]
            for _ in range(n):
                with torch.inference_mode():
                    logits = model(torch.tensor([row[-context_length:] for row in rows]))[:, -1].double()
                if temperature > 0:
                    shares = F.softmax(logits / temperature, dim=-1).cumsum(-1)
                    u = torch.rand(len(rows), 1, generator=g, dtype=torch.float64)
                    chosen = (u > shares).sum(-1).clamp(max=logits.shape[-1] - 1)
                else:
                    chosen = logits.max(-1).indices
                for row, token in zip(rows, chosen.tolist(), strict=True):
                    row.append(token)
            return torch.tensor(rows, dtype=torch.long)

        def pretrain(cfg, data, steps, g, observe=None):
            T, cut = cfg.context_length, int(len(data) * 9 / 10 + 1e-9)
            torch.manual_seed(g.initial_seed() + 1)
            model = attention.GPT(cfg)
            optimizer = torch.optim.AdamW(model.parameters(), cfg.lr, (0.9, 0.95), weight_decay=0.0)

            def factor(step):
                if step < cfg.warmup:
                    return (step + 1) / (cfg.warmup + 1)
                done = (step - cfg.warmup) / (steps - 1 - cfg.warmup)
                return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done))

            log = []
            for step in range(1, steps + 1):
                model.train()
                batch = [data[s : s + T + 1] for s in torch.randint(0, cut - T, (cfg.batch_size,), generator=g)]
                batch = torch.stack(batch)
                loss = nn.CrossEntropyLoss()(model(batch[:, :-1]).transpose(1, 2), batch[:, 1:])
                model.zero_grad()
                loss.backward()
                norm = sum(p.grad.pow(2).sum() for p in model.parameters()) ** 0.5
                if norm > cfg.clip:
                    for p in model.parameters():
                        p.grad *= cfg.clip / norm
                record = {"step": step, "loss": loss.detach().item(), "lr": cfg.lr * factor(step - 1)}
                for group in optimizer.param_groups:
                    group.update(lr=record["lr"])
                optimizer.step()
                model.eval()
                if step == steps or step % cfg.eval_every == 0:
                    held_out, total, rows = data[cut:], 0.0, 0
                    with torch.no_grad():
                        for start in range(0, len(held_out) - T, T):
                            piece = held_out[start : start + T + 1]
                            total += F.cross_entropy(model(piece[None, :-1])[0], piece[1:]).item()
                            rows += 1
                    record["val_loss"] = total / rows
                    if observe is not None:
                        observe(step, {name: p.clone() for name, p in model.state_dict().items()})
                log.append(record)
            return model, log

    @variant
    class FromThePieces:
        """All windows as a view, the schedule beforehand, a seed of its own for each use, GPT in Llama's style."""

        def sample(model, ids, n, context_length, temperature=1.0, g=None):
            out = ids.clone()
            with torch.no_grad():
                while out.shape[1] < ids.shape[1] + n:
                    z = model(out[:, -context_length:])[:, -1, :]
                    if temperature == 0:
                        nxt = z.topk(1).indices
                    else:
                        p = torch.exp((z - z.max(-1, keepdim=True).values) / temperature)
                        nxt = torch.multinomial(p, num_samples=1, generator=g)
                    out = torch.cat((out, nxt), 1)
            return out

        def pretrain(cfg, data, steps, g, observe=None):
            T, n_train = cfg.context_length, len(data) * 9 // 10
            rows = data[:n_train].unfold(0, T + 1, 1)
            held = data[n_train:].unfold(0, T + 1, T)
            seeds = torch.randint(10**9, (2,), generator=g).tolist()
            picks = torch.Generator().manual_seed(seeds[0])
            torch.manual_seed(seeds[1])
            model = attention.GPT(attention.GPTConfig.of(cfg))
            optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.95), weight_decay=0.1)
            warm = [cfg.lr * (s + 1) / (cfg.warmup + 1) for s in range(cfg.warmup)]
            turns = torch.linspace(0, math.pi, steps - cfg.warmup, dtype=torch.float64).cos()
            rates = warm + (cfg.lr / 10 + 0.9 * cfg.lr * (1 + turns) / 2).tolist()
            log = []
            for step, lr in enumerate(rates):
                batch = rows[torch.randint(len(rows), (cfg.batch_size,), generator=picks)]
                logp = model(batch[:, :-1]).log_softmax(-1)
                loss = -logp.gather(-1, batch[:, 1:, None]).mean()
                for p in model.parameters():
                    p.grad = None
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
                optimizer.param_groups[0]["lr"] = lr
                optimizer.step()
                log.append({"step": step + 1, "loss": loss.item(), "lr": lr})
                if (step + 1) % cfg.eval_every == 0 or step + 1 == steps:
                    model.eval()
                    with torch.no_grad():
                        logp = model(held[:, :-1]).log_softmax(-1)
                    log[-1]["val_loss"] = float(-logp.gather(-1, held[:, 1:, None]).mean())
                    model.train()
                    if observe:
                        observe(step + 1, model.state_dict())
            model.eval()
            return [model, log]
