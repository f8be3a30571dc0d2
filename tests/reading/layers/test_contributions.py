from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.reading.layers import Contributions, Unkept
from gradmeter.reading.layers.gradients import Dense
from oracles.networks import CASES, Recipe, randomise, samples
from reading.capture.passes import Pass
from reading.layers.measured import Use, built, check

X, GRID, IMAGES = samples(3, 5), samples(3, 4, 5), samples(3, 2, 6, 6)


def lstm_cell(m: Any, x: Tensor) -> Tensor:
    state = x.new_zeros(len(x), 3), x.new_zeros(len(x), 3)
    for step in x.unbind(1):
        state = m.cell(step, state)
    return state[0]


SUMS: dict[str, tuple[Use, dict[str, list[str]]]] = {
    "one weight of two layers": (
        (lambda m, x: F.linear(F.linear(x, m.w, m.b).tanh(), m.w, m.b), X, {"w": (5, 5), "b": (5,)}),
        {"w": ["Dense"] * 2, "b": ["Direct"] * 2},
    ),
    "a weight and its transposition": (
        (lambda m, x: (x @ m.w).tanh() @ m.w.t(), X, {"w": (5, 3)}),
        {"w": ["Dense"] * 2},
    ),
    "one position and several": (
        (lambda m, x: (x @ m.w).tanh().sum(1) + x[:, 0] @ m.w, GRID, {"w": (5, 3)}),
        {"w": ["Dense"] * 2},
    ),
    "a table that is also a projection": (
        (lambda m, x: F.embedding(x, m.w).mean(1).tanh() @ m.w.t(), torch.tensor([[0, 2], [1, 1], [3, 0]]),
         {"w": (4, 3)}),
        {"w": ["LookedUp", "Dense"]},
    ),
    "a product and a sum": (
        (lambda m, x: (x * m.p).tanh() + m.p, GRID, {"p": (5,)}),
        {"p": ["Direct"] * 2},
    ),
    "a weight and its penalty": (
        (lambda m, x: x @ m.w * m.w.norm(), X, {"w": (5, 3)}),
        {"w": ["PulledBack", "Dense"]},
    ),
    "a rule and none": (
        (lambda m, x: torch.maximum(x * m.p, m.p), GRID, {"p": (5,)}),
        {"p": ["Masked", "Direct"]},
    ),
    "one kernel at two sizes": (
        (lambda m, x: F.conv2d(x, m.w).mean((2, 3)) + F.conv2d(F.avg_pool2d(x, 2), m.w).mean((2, 3)), IMAGES,
         {"w": (3, 2, 3, 3)}),
        {"w": ["Correlation"] * 2},
    ),
    "one kernel, frames and images": (
        (lambda m, x: F.conv2d(x.unfold(2, 3, 3).movedim(2, 1).flatten(0, 1), m.w).unflatten(0, (-1, 2)).sum((1, 3, 4))
         + F.conv2d(x, m.w).tanh().mean((2, 3)), IMAGES, {"w": (3, 2, 3, 3)}),
        {"w": ["Correlation"] * 2},
    ),
    "cancelling": (
        (lambda m, x: x @ m.w - x @ (m.w * 0.5), X, {"w": (5, 3)}),
        {"w": ["Dense", "PulledBack"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SUMS)
def test_sums_over_the_uses(case: str) -> None:
    use, forms = SUMS[case]
    used_forms = check(*built(use), norms=1e-10, shapes=1e-8)
    assert {name: sorted(used) for name, used in used_forms.items()} == {
        name: sorted(used) for name, used in forms.items()
    }


@pytest.mark.parametrize("case", ["called twice", "called on two sizes", "tied weights", "residual", "tokens"])
def test_networks(case: str) -> None:
    make, shape = CASES[case]
    check(randomise(make().double()).eval(), samples(3, *shape), norms=1e-10, shapes=1e-8)


def test_casts_do_not_make_a_gradient_slow() -> None:
    """Autocast converts every weight before its use."""

    def recipe(m: Any, x: Tensor) -> Tensor:
        w = m.w.float().double()
        return (x @ w).tanh() @ w.t() @ m.v.float().t().double() + m.b.float()

    model, x = built((recipe, X, {"w": (5, 4), "v": (3, 5), "b": (3,)}))
    forms = check(model, x, norms=1e-6, shapes=1e-5)
    assert forms == {"w": ["Dense"] * 2, "v": ["Dense"], "b": ["Direct"]}


def test_steps_of_a_recurrence_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomise(Recipe(lstm_cell, cell=nn.LSTMCell(5, 3)).double())
    forms = check(model, GRID)
    assert {name: set(used) for name, used in forms.items()} == {
        name: {"Dense" if "weight" in name else "Direct"} for name, _ in model.named_parameters()
    }
    assert {len(used) for used in forms.values()} == {4}
    walk = Pass.of(model, GRID)
    plan = walk.plan()
    contributions = Contributions(walk.graph, plan, [], 3)
    calls: list[int] = []

    def refuse(self: Dense, rows: slice) -> Tensor:
        calls.append(1)
        raise AssertionError

    monkeypatch.setattr(Dense, "materialise", refuse)
    walk.propagate(plan, contributions.receive)
    contributions.finish()
    assert calls == []


@pytest.mark.parametrize("case", ["called twice", "tied weights", "tokens"])
def test_a_gradient_is_reduced_as_soon_as_it_is_whole(case: str) -> None:
    make, shape = CASES[case]
    model = randomise(make().double()).eval()
    walk = Pass.of(model, samples(3, *shape))
    plan = walk.plan()
    contributions = Contributions(walk.graph, plan, [], 3)
    whole: list[set[str]] = []

    def receive(planned: Any, operation: Any) -> None:
        contributions.receive(planned, operation)
        whole.append(set(contributions.sums))

    walk.propagate(plan, receive)
    assert len(whole[0]) > 0
    assert whole[-1] == {name for name, _ in model.named_parameters()} == set(contributions.finish())


def test_what_no_gradient_reaches_has_no_sums() -> None:
    walk = Pass.of(*built((lambda m, x: x @ m.w + 0 * (x @ m.v), X, {"w": (5, 3), "v": (5, 3)})))
    plan = walk.plan()
    contributions = Contributions(walk.graph, plan, [], 3)
    walk.propagate(plan, contributions.receive)
    assert set(contributions.finish()) == {"w"}


LATE: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "terminal": lambda m, x: torch.maximum(x, m.p) @ torch.ones(5, 3).double(),
    "on the way": lambda m, x: torch.maximum((x * m.q).tanh(), m.p),
    "behind an operation on parameters": lambda m, x: torch.maximum((x * m.q).tanh(), m.p.exp()),
    "behind a transposition": lambda m, x: torch.cdist((x * m.q).tanh(), m.p.t()),
}


@pytest.mark.parametrize("case", LATE)
def test_what_waits_for_the_end_of_the_pass_needs_the_graph(case: str) -> None:
    model, x = built((LATE[case], X, {"p": (5, 3) if "transposition" in case else (5,), "q": (5,)}))
    walk = Pass.of(model, x)
    plan = walk.plan()
    assert not plan.keep
    with pytest.raises(Unkept):
        walk.propagate(plan, Contributions(walk.graph, plan, [], 3).receive)
    walk, kept = Pass.of(model, x), replace(plan, keep=True)
    contributions = Contributions(walk.graph, kept, [], 3)
    walk.propagate(kept, contributions.receive)
    assert "p" not in contributions.sums
    assert "p" in contributions.finish()
