"""Hidden part of exercise 13."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from autograder.compare import equal, true
from autograder.exercise import check, variant
from autograder.exercises.pretraining import resume as public
from autograder.exercises.pretraining.resume import draw_data, expect_one_run, pieces, settings
from autograder.rng import Rng
from autograder.student import Student


class ContinueRun(public.ContinueRun):
    @check(hint="Stop at the very beginning, before the last one, and more than once.")
    def it_can_be_stopped_anywhere(self, student: Student, rng: Rng) -> None:
        V = rng.randint(5, 8)
        data, n = draw_data(rng, V, 70), rng.randint(9, 12)
        for stop, name in ((2, "after two steps"), (n - 1, "before the last step")):
            expect_one_run(student, data, settings(rng, V), stop, n, f"stopped {name}, at a steady rate")
            expect_one_run(student, data, settings(rng, V, n), stop, n, f"stopped {name}, at a falling rate")
        cfg, stops = settings(rng, V, n), [3, 4, 4, n]
        found, _ = pieces(student, data, cfg, stops)
        (whole,), _ = pieces(student, data, cfg, [n])
        lengths = [len(losses) for losses in found]
        joined = [loss for losses in found for loss in losses]
        student.conclude(f"with three stops {lengths[:3]}, {'the same' if joined == whole else 'another run'}")
        equal(lengths, [3, 1, 0, n - 4], what=f"stopped at 3, at 4 and at 4 again, up to {n}, the numbers of losses:")
        equal(joined, whole, what="stopped three times, it")

    @check(hint="The same seed gives the same run; another one draws other places.")
    def the_places_follow_from_the_seed(self, student: Student, rng: Rng) -> None:
        V = rng.randint(4, 6)
        data, cfg = draw_data(rng, V, 70), settings(rng, V)
        other = SimpleNamespace(**vars(cfg) | {"seed": cfg.seed + 1})
        (one,), _ = pieces(student, data, cfg, [6])
        (again,), _ = pieces(student, data, cfg, [6])
        (another,), _ = pieces(student, data, other, [6])
        student.conclude(
            f"{'same' if one == again else 'other'} again, {'same' if one == another else 'other'} with another"
        )
        true(one == again, "two runs with the same cfg.seed had different losses")
        true(one != another, "two runs with different cfg.seed had exactly the same losses")

    @variant
    class MomentsByHand:
        """AdamW on plain tensors; all places are drawn beforehand, and the checkpoint says how many are used up."""

        def continue_run(checkpoint, data, until, cfg):
            state = checkpoint or {"t": 0, "z": torch.zeros(cfg.vocab_size, cfg.vocab_size), "m": 0.0, "v": 0.0}
            z, m, v, losses = state["z"].clone(), state["m"], state["v"], []
            g = torch.Generator().manual_seed(cfg.seed)
            batches = [torch.randint(0, len(data) - 1, (cfg.batch_size,), generator=g) for _ in range(until)]
            for s, at in list(enumerate(batches))[state["t"] :]:
                rows, follows = z[data[at]], data[at + 1]
                losses.append(-rows.log_softmax(-1)[range(len(at)), follows].mean().item())
                push = (rows.softmax(-1) - F.one_hot(follows, cfg.vocab_size)) / len(at)
                grad = torch.zeros_like(z).index_add_(0, data[at], push)
                m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
                mean, square = m / (1 - 0.9 ** (s + 1)), v / (1 - 0.999 ** (s + 1))
                z = z - cfg.lr * (cfg.steps - s) / cfg.steps * mean / (square.sqrt() + 1e-8)
            return losses, {"t": until, "z": z, "m": m, "v": v}

    @variant
    class SeedForEachStep:
        """The places of a step follow from its number, so that the step itself is the cursor."""

        def continue_run(checkpoint, data, until, cfg):
            model = torch.nn.Embedding(cfg.vocab_size, cfg.vocab_size)
            torch.nn.init.zeros_(model.weight)
            optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
            begin = 0
            if checkpoint is not None:
                model.load_state_dict(checkpoint["model"])
                copied = {
                    key: {name: value.clone() for name, value in moments.items()}
                    for key, moments in checkpoint["moments"].items()
                }
                optimizer.load_state_dict({"state": copied, "param_groups": optimizer.state_dict()["param_groups"]})
                begin = checkpoint["begin"]
            losses = []
            for s in range(begin, until):
                g = torch.Generator().manual_seed(cfg.seed * 1000 + s)
                at = torch.randint(len(data) - 1, (cfg.batch_size,), generator=g)
                for group in optimizer.param_groups:
                    group["lr"] = cfg.lr * (1 - s / cfg.steps)
                loss = torch.nn.CrossEntropyLoss()(model(data[at]), data[at + 1])
                model.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            return losses, {"model": weights, "moments": optimizer.state_dict()["state"], "begin": until}
