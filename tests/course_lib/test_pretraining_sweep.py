"""The scaling sweep: the table that comes with the course, and the command that makes such a table."""

import math
from itertools import pairwise

import pytest
import torch

from course_lib.attention import GPT, count_params, flops_per_token
from course_lib.pretraining import sweep as module
from course_lib.pretraining.sweep import PLAN, follow_plan, main, read_sweep, sweep, sweep_model, write_runs

TEXT = "\n<|endoftext|>\n".join(f"{i} bottles of beer on the wall, {i} bottles of beer." for i in range(300))


@pytest.fixture(scope="module")
def table():
    return read_sweep()


def best(table, budget):
    """The lowest loss by size, whatever the rate, of the first seed."""
    found = {}
    for run in table:
        if run.budget == budget and run.seed == 0:
            found[run.parameters] = min(run.val_loss, found.get(run.parameters, math.inf))
    return dict(sorted(found.items()))


def test_it_holds_what_is_promised(table):
    budgets = sorted({run.budget for run in table})
    assert len(table) >= 40 and len({(run.width, run.layers) for run in table}) >= 5 and len(budgets) >= 4
    assert len({(r.budget, r.width, r.layers, r.lr, r.seed) for r in table}) == len(table)
    assert len({run.seed for run in table}) >= 3 and all(run.seconds > 0 and run.device for run in table)
    assert all(0 < run.val_loss < math.log(257) for run in table)


def test_the_costs_are_those_of_the_models(table):
    for run in table:
        cfg = sweep_model(run.width, run.layers)
        counts = count_params(cfg)
        assert run.parameters == counts["total"]
        assert run.parameters_without_embedding == counts["total"] - counts["token_embedding"]
        assert run.flops_6nd == 6 * run.parameters * run.tokens
        assert run.flops_exact == pytest.approx(3 * flops_per_token(cfg, 128) * run.tokens)
        assert run.flops_exact == pytest.approx(run.budget, rel=0.01)
    assert sum(p.numel() for p in GPT(sweep_model(48, 2)).parameters()) == count_params(sweep_model(48, 2))["total"]


def test_more_compute_gives_lower_losses_and_larger_models(table):
    budgets = sorted({run.budget for run in table})
    lowest = [min(best(table, budget).values()) for budget in budgets]
    assert all(more < less - 0.05 for less, more in pairwise(lowest))
    optimal = [min(losses, key=losses.get) for losses in (best(table, budget) for budget in budgets)]
    assert optimal == sorted(optimal) and optimal[0] < optimal[-1]


def test_at_every_budget_the_best_size_is_inside(table):
    for budget in sorted({run.budget for run in table}):
        losses = best(table, budget)
        sizes = list(losses)
        assert len(sizes) >= 4
        assert min(sizes) < min(losses, key=losses.get) < max(sizes), (budget, losses)


def test_rates_were_tried_on_both_sides_at_the_small_budgets(table):
    for budget, (sizes, tries) in PLAN.items():
        for width, layers in sizes:
            rates = {
                r.lr: r.val_loss for r in table if (r.budget, r.width, r.layers, r.seed) == (budget, width, layers, 0)
            }
            assert len(rates) >= tries
            if tries == 3:
                assert min(rates) < min(rates, key=rates.get) < max(rates)


def test_the_plan_follows_the_answers():
    asked = []

    def loss(budget, size, lr, seed):
        asked.append((budget, size, lr, seed))
        return abs(math.log2(lr / 0.004)) + seed

    follow_plan(loss)
    first_budget, (sizes, _) = next(iter(PLAN.items()))
    rates = {lr for budget, size, lr, seed in asked if (budget, size, seed) == (first_budget, sizes[0], 0)}
    assert {0.002, 0.004, 0.008} <= rates
    assert len(asked) == len(set(asked)) and {budget for budget, *_ in asked} == set(PLAN)
    assert {seed for _, _, lr, seed in asked if lr == 0.004} == {0, 1, 2}
    few = []
    follow_plan(lambda *run: few.append(run) or 1.0 + len(few), up_to=first_budget)
    assert {budget for budget, *_ in few} == {first_budget}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    monkeypatch.setattr(module, "PLAN", {2e8: (((8, 1), (16, 1)), 1), 4e8: (((8, 1),), 2)})
    monkeypatch.setattr(module, "SEED_BUDGET", 2e8)
    return {"dataset": text, "device": "cpu", "cache": tmp_path / "cache", "progress": False}


def test_a_table_is_made_stopped_completed_and_not_made_twice(tiny, tmp_path, monkeypatch):
    out = tmp_path / "table.csv"
    runs = sweep(out, up_to=2e8, **tiny)
    assert len(runs) == 6 == len(read_sweep(out)) and read_sweep(out) == runs
    with out.open("a") as file:
        file.write("400000000.0,8,1,29")  # a line that a kill has cut
    assert read_sweep(out) == runs
    more = sweep(out, **tiny)
    assert more[:6] == runs and read_sweep(out) == more and len(more) >= 8
    monkeypatch.setattr(module, "train_one", None)  # nothing is left to be trained
    assert sweep(out, **tiny) == more


def test_a_run_is_what_its_row_says(tiny, tmp_path):
    one, two = (sweep(tmp_path / name, up_to=2e8, **tiny) for name in ("a.csv", "b.csv"))
    assert [(r.val_loss, r.train_loss) for r in one] == [(r.val_loss, r.train_loss) for r in two]
    assert one[0].val_loss != one[1].val_loss  # another seed
    assert one[0].flops_exact == pytest.approx(2e8, rel=0.1) and one[0].seconds > 0
    assert all(run.device.startswith("cpu") for run in one) and torch.get_num_threads() >= 1


def test_errors(tmp_path, capsys):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="path: expected a table with the columns budget, width"):
        read_sweep(tmp_path / "other.csv")
    with pytest.raises(SystemExit) as end:
        main(["--out", str(tmp_path / "new.csv"), "--dataset", "nowhere"])
    assert end.value.code == 2 and "dataset: expected python" in capsys.readouterr().err
    write_runs(tmp_path / "empty.csv", [])
    assert read_sweep(tmp_path / "empty.csv") == []
