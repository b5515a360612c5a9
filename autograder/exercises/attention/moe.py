"""Exercise 11: a mixture of experts, from the router's choice to the losses that keep it fair."""

import math

import torch

from autograder.compare import close, equal, true
from autograder.exercise import Exercise, check, mistake
from autograder.exercises.attention.moe_oracles import (
    balance,
    combined,
    drawn_choices,
    expect_dispatched,
    expect_routes,
    expect_scalar,
    fill,
    gate_gradient,
    gradient_of,
    placed,
    z_loss,
)
from autograder.rng import Rng
from autograder.student import Student, short, type_name
from course_lib import attention


class Dispatch(Exercise):
    """Send every token to its best experts, as far as they have room, and keep the router fair."""

    title = "Mixture of experts"
    difficulty = 2
    minutes = 45
    id = "dispatch"
    functions = ("route_topk", "capacity", "dispatch", "combine", "load_balance_loss", "router_z_loss")
    reference = attention
    hints = (
        "Follow one token on paper: which experts does it want, is there room, where does it stand in their buffers, "
        "and how does the answer find its way back? What happens to a token that found no room?",
        "route_topk: softmax and topk; for k > 1 divide by the sum of the k, for k = 1 do not. dispatch: two loops, "
        "the outer one over the choices j, the inner one over the tokens n, and a counter for each expert. combine: "
        "start from a copy of x and add gate times output where the slot is not -1. load_balance_loss: f by bincount, "
        "P by probs.mean(0).",
        "capacity: math.ceil(factor * k * n_tokens / n_experts). dispatch: for j in range(k): for n in range(N): e = "
        "int(idx[n, j]); if used[e] < capacity: slots[n, j] = used[e]; buffers[e, used[e]] = x[n]; used[e] += 1. "
        "loss: E * (f * probs.mean(0)).sum() with f = torch.bincount(idx.flatten(), minlength=E) / idx.numel(). "
        "z-loss: torch.logsumexp(logits, -1).square().mean().",
    )

    @check(hint="k = 2: both gates add up to 1. k = 1: the gate is the probability among all experts, not 1.")
    def chooses_the_best_experts_and_weighs_them(self, student: Student, rng: Rng) -> None:
        table = torch.tensor([[0.0, 2.0, 1.0, -1.0], [1.5, 0.0, -1.0, 3.0]])
        drawn = rng.normal(6, 5) * 1.5
        for logits, k in ((table, 2), (drawn, 3), (table, 1), (drawn, 1)):
            expect_routes(student.route_topk(logits, k), logits, k)

    @check(
        hint="Every gate must depend on the logits through torch operations: no .item(), no detach(), no constant 1."
    )
    def lets_the_router_learn_from_its_gates(self, student: Student, rng: Rng) -> None:
        for k in (2, 1):
            logits, upstream = rng.normal(5, 4), rng.normal(5, k)
            expect_routes(student.route_topk(logits, k), logits, k)
            (grad,) = gradient_of(
                student.route_topk, logits, k, wrt=[0], upstream=(None, upstream), what="the gates to the logits"
            )
            want = gate_gradient(logits, k, upstream)
            close(grad, want, rtol=1e-3, atol=1e-5, what=f"for k = {k}, the gradient of the logits", dtype=False)

    @check(hint="N tokens make k N assignments. Shared fairly by E experts, times the factor, rounded up.")
    def gives_every_expert_its_share_rounded_up(self, student: Student, rng: Rng) -> None:
        drawn = (8 * rng.randint(10, 90) + rng.randint(1, 2), 8, 3, 1.5)
        cases = [((64, 8, 1, 1.0), 8), ((100, 8, 1, 1.25), 16), ((100, 8, 2, 1.25), 32), (drawn, None)]
        for args, want in cases:
            got = student.capacity(*args)
            whole = isinstance(got, int) and not isinstance(got, bool)
            true(whole, f"it returned {type_name(got)}: {short(got)}, expected an int")
            n, experts, k, factor = args
            # By counting instead of rounding: the smallest number of places that is enough.
            enough = want or next(room for room in range(1, 10**6) if room * experts >= factor * k * n)
            equal(got, enough, what=f"{n} tokens, {experts} experts, k = {k}, factor {factor}: it")

    @check(hint="Count for each expert how many it has taken, with the loop over choices outside, over tokens inside.")
    def serves_first_choices_first_and_drops_what_has_no_room(self, student: Student, rng: Rng) -> None:
        x = rng.normal(4, 3)
        roomy = torch.tensor([[0, 1], [1, 0], [0, 2], [0, 1]])
        for room in (4, 2):
            expect_dispatched(student.dispatch(x, roomy, 3, room), x, roomy, 3, room)
        for k, room in ((1, 2), (2, 3), (2, 2)):
            x, idx = rng.normal(9, 2), drawn_choices(rng, 9, 4, k)
            # The last token wants the favourite first and may lose it only to other first choices.
            idx[-1, 0], idx[-1, 1:] = 0, 1
            expect_dispatched(student.dispatch(x, idx, 4, room), x, idx, 4, room)

    @check(hint="Start with x. Add gate times output for each assignment with a slot; where the slot is -1, nothing.")
    def brings_the_answers_home_and_keeps_the_residual(self, student: Student, rng: Rng) -> None:
        x, outputs, gate = rng.normal(5, 3), rng.normal(3, 2, 3), rng.normal(5, 2).sigmoid()
        idx = torch.tensor([[0, 1], [1, 0], [0, 2], [0, 1], [1, 2]])
        kept = torch.tensor([[0, 1], [0, 1], [1, 0], [1, 0], [1, 1]])
        dropped = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, -1], [-1, 1]])
        for slots, what in ((kept, "nothing is dropped"), (dropped, "some assignments are dropped")):
            got = student.combine(x, outputs, idx, slots, gate)
            want = combined(x, outputs, idx, slots, gate)
            close(got, want, rtol=1e-4, atol=1e-6, what=f"where {what}, the result")

    @check(hint="f counts the hard choices, P is the mean of the soft probabilities. E times the sum of f times P.")
    def measures_how_unevenly_the_tokens_are_spread(self, student: Student, rng: Rng) -> None:
        table = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4]])
        for probs, k in ((table, 1), ((2 * rng.normal(10, 5)).softmax(-1), 2)):
            idx = probs.topk(k, dim=-1).indices
            expect_scalar(student.load_balance_loss(probs, idx), balance(probs, idx), f"for k = {k}, the loss")
            (grad,) = gradient_of(
                student.load_balance_loss,
                probs,
                idx,
                wrt=[0],
                upstream=torch.tensor(1.0),
                what="the loss to the probabilities",
            )
            counts = torch.tensor([idx.flatten().tolist().count(e) for e in range(probs.shape[1])])
            row = probs.shape[1] * counts / idx.numel() / len(probs)
            close(grad, row.expand_as(probs).contiguous(), rtol=1e-3, what="the gradient of the probabilities")
        even = torch.full((8, 4), 0.25)
        idx = torch.tensor([[n % 4, (n + 1) % 4] for n in range(8)])
        expect_scalar(student.load_balance_loss(even, idx), 1.0, "where all is even, the loss")

    @check(hint="One number for each token: the logarithm of the sum of the exponentials. Square it, then average.")
    def keeps_the_logits_small(self, student: Student, rng: Rng) -> None:
        for logits in (torch.tensor([[0.0, 0.0], [1.0, 3.0]]), rng.normal(7, 4) + 1, rng.normal(3, 4) + 200):
            expect_scalar(student.router_z_loss(logits), z_loss(logits), "the loss")

    @mistake(
        "renormalises the gate of a single expert: p / p is always 1, and the router never learns", of="route_topk"
    )
    def switch_renormalised(logits, k):
        return attention.route_topk(logits, k, renormalise=True)

    @mistake("leaves the k gates as they are; for k > 1 they are divided by their sum", of="route_topk")
    def never_renormalised(logits, k):
        return attention.route_topk(logits, k, renormalise=False)

    @mistake("gives every chosen expert the weight 1; the gate says how much each one counts", of="route_topk")
    def without_weight(logits, k):
        idx = attention.route_topk(logits, k)[0]
        return idx, torch.ones(idx.shape)

    @mistake("weighs by the logits themselves; a gate is a probability, so take the softmax", of="route_topk")
    def logits_as_gates(logits, k):
        gate, idx = logits.topk(k, dim=-1)
        return idx, gate

    @mistake(
        "takes the softmax over the tokens; the experts compete for a token, so it runs over them", of="route_topk"
    )
    def softmax_over_tokens(logits, k):
        idx = logits.topk(k, dim=-1).indices
        gate = logits.softmax(dim=0).gather(-1, idx)
        return idx, gate / gate.sum(-1, keepdim=True) if k > 1 else gate

    @mistake("sorts the chosen experts by their number; column 0 holds the first choice", of="route_topk")
    def sorted_by_number(logits, k):
        idx, gate = attention.route_topk(logits, k)
        order = idx.argsort(dim=-1)
        return idx.gather(-1, order), gate.gather(-1, order)

    @mistake("cuts the gates off from the logits; through them the router gets its gradient", of="route_topk")
    def gates_detached(logits, k):
        idx, gate = attention.route_topk(logits, k)
        return idx, torch.tensor(gate.tolist())

    @mistake("takes the capacity factor for the capacity; it multiplies the fair share k N / E", of="capacity")
    def factor_is_capacity(n_tokens, n_experts, k, factor):
        return math.ceil(factor)

    @mistake("forgets k: each token makes k assignments, and all of them need room", of="capacity")
    def k_forgotten(n_tokens, n_experts, k, factor):
        return math.ceil(factor * n_tokens / n_experts)

    @mistake("rounds down; half a place helps nobody, so round up", of="capacity")
    def floor(n_tokens, n_experts, k, factor):
        return int(factor * k * n_tokens / n_experts)

    @mistake("adds a place even where the share is a whole number; rounding up leaves it as it is", of="capacity")
    def one_too_many(n_tokens, n_experts, k, factor):
        return int(factor * k * n_tokens / n_experts) + 1

    @mistake("does not share among the experts: that is the room of all of them together", of="capacity")
    def room_of_all(n_tokens, n_experts, k, factor):
        return math.ceil(factor * k * n_tokens)

    @mistake("serves both choices of a token before the next token; so second choices take places of first ones")
    def token_by_token(x, idx, n_experts, capacity):
        flat = placed(idx.flatten()[:, None].tolist(), n_experts, capacity)
        return fill(x, idx, torch.tensor(flat).view(idx.shape), n_experts, capacity)

    @mistake("begins with the second choices; the first ones come first")
    def last_choice_first(x, idx, n_experts, capacity):
        slots = torch.tensor(placed(idx.flip(-1).tolist(), n_experts, capacity)).flip(-1)
        return fill(x, idx, slots, n_experts, capacity)

    @mistake("counts first and second choices apart, so that two tokens land in one place")
    def counted_apart(x, idx, n_experts, capacity):
        columns = [placed(column[:, None].tolist(), n_experts, capacity) for column in idx.T]
        return fill(x, idx, torch.tensor(columns)[:, :, 0].T, n_experts, capacity)

    @mistake("lets late tokens push out early ones; who comes when all is full is dropped")
    def last_come_first_served(x, idx, n_experts, capacity):
        slots = torch.tensor(placed(idx.flip(0).tolist(), n_experts, capacity)).flip(0)
        return fill(x, idx, slots, n_experts, capacity)

    @mistake("puts what has no room into the last place, over another token; it must be dropped, with slot -1")
    def crowds_the_last_place(x, idx, n_experts, capacity):
        slots = attention.assign_slots(idx, n_experts, len(idx) * idx.shape[1]).clamp_max(capacity - 1)
        return fill(x, idx, slots, n_experts, capacity)

    @mistake("numbers dropped assignments on; their slot is -1, as the place does not exist")
    def slots_beyond_the_end(x, idx, n_experts, capacity):
        buffers, _ = attention.dispatch(x, idx, n_experts, capacity)
        return buffers, attention.assign_slots(idx, n_experts, len(idx) * idx.shape[1])

    @mistake(
        "reads slot -1 as the last place, as Python does; so dropped tokens get another token's answer", of="combine"
    )
    def reads_minus_one(x, outputs, idx, slots, gate):
        return x + (gate[..., None] * outputs[idx, slots]).sum(dim=1)

    @mistake("returns the experts' answers alone; they are added to x, the residual stream", of="combine")
    def no_residual(x, outputs, idx, slots, gate):
        return attention.combine(torch.zeros_like(x), outputs, idx, slots, gate)

    @mistake("sets a dropped token to zero; it should go on as it came", of="combine")
    def dropped_is_zero(x, outputs, idx, slots, gate):
        out = attention.combine(x, outputs, idx, slots, gate)
        return out * (slots >= 0).any(-1, keepdim=True)

    @mistake("adds a dropped token to itself: an expert that was full contributes nothing", of="combine")
    def dropped_counts_twice(x, outputs, idx, slots, gate):
        return attention.combine(x, outputs, idx, slots, gate) + x * (slots < 0).all(-1, keepdim=True)

    @mistake("adds the answers without their gates", of="combine")
    def gates_forgotten(x, outputs, idx, slots, gate):
        return attention.combine(x, outputs, idx, slots, torch.ones_like(gate))

    @mistake("weighs the residual too; the gates belong to the answers, x passes as it is", of="combine")
    def residual_gated(x, outputs, idx, slots, gate):
        weight = (gate * (slots >= 0)).sum(-1, keepdim=True)
        return weight * x + attention.combine(torch.zeros_like(x), outputs, idx, slots, gate)

    @mistake("takes f from the probabilities, as P; f counts where the tokens really went", of="load_balance_loss")
    def soft_counts(probs, idx):
        return probs.shape[1] * probs.mean(0).square().sum()

    @mistake(
        "uses the hard counts twice; a count has no gradient, so the router would learn nothing", of="load_balance_loss"
    )
    def hard_counts_only(probs, idx):
        f = torch.bincount(idx.flatten(), minlength=probs.shape[1]) / idx.numel()
        return probs.shape[1] * f.square().sum()

    @mistake(
        "cuts the loss off from the probabilities; P must stay a mean that torch can follow", of="load_balance_loss"
    )
    def detached(probs, idx):
        return attention.load_balance_loss(probs.detach(), idx)

    @mistake("forgets the factor E, without which the value at balance is 1 / E", of="load_balance_loss")
    def without_e(probs, idx):
        return attention.load_balance_loss(probs, idx) / probs.shape[1]

    @mistake("divides the counts by the tokens; here f is the share of all k N assignments", of="load_balance_loss")
    def counted_by_token(probs, idx):
        return attention.load_balance_loss(probs, idx) * idx.shape[1]

    @mistake("counts first choices only; every assignment is work for an expert", of="load_balance_loss")
    def first_choices_only(probs, idx):
        return attention.load_balance_loss(probs, idx[:, :1])

    @mistake(
        "averages the squares of the logits; the loss is about the logarithm of the sum of their exponentials",
        of="router_z_loss",
    )
    def squared_logits(logits):
        return logits.square().mean()

    @mistake("forgets the square", of="router_z_loss")
    def not_squared(logits):
        return logits.logsumexp(-1).mean()

    @mistake("squares the mean; square for each token, then take the mean", of="router_z_loss")
    def square_of_the_mean(logits):
        return logits.logsumexp(-1).mean().square()

    @mistake("adds up over the tokens; the loss is their mean", of="router_z_loss")
    def summed(logits):
        return logits.logsumexp(-1).square().sum()

    @mistake("overflows for large logits; torch.logsumexp takes the largest one out first", of="router_z_loss")
    def overflows(logits):
        return logits.exp().sum(-1).log().square().mean()
