import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradmeter.reading.capture import Operation, Planned, Unplanned
from oracles.networks import CASES, Auxiliary, Recipe, classifier, frozen, randomise, samples
from reading.capture.passes import Pass


def network(recipe: Callable[[Any, Tensor], Tensor], **members: nn.Module | tuple[int, ...]) -> Recipe:
    model = Recipe(recipe, **members).double()
    randomise(model)
    return model


def two_layers() -> Recipe:
    return network(lambda m, x: m.second(m.first(x).tanh()), first=nn.Linear(4, 5), second=nn.Linear(5, 3))


def ignore(planned: Planned, operation: Operation) -> None:
    pass


@pytest.mark.parametrize("deferred", [False, True])
def test_gradients_of_outputs_against_autograd(deferred: bool) -> None:
    model = two_layers()
    x = samples(6, 4)
    walk = Pass.of(model, x)
    by_name: dict[str, tuple[Tensor, Tensor]] = {}

    def receive(planned: Planned, operation: Operation) -> None:
        leaf: Any = operation.node.next_functions[0][0]
        by_name[walk.graph.leaves[leaf]] = operation.delta, operation.saved("mat1")
        assert operation.samples == 6
        assert operation.axes == planned.axes
        assert operation.inputs == planned.inputs == (0, 2)

    walk.propagate(walk.plan(), receive, deferred=deferred)
    hidden = model.first(x).tanh().detach()
    delta = (walk.direction @ model.second.weight.detach()) * (1 - hidden**2)
    expected = {"first.bias": (delta, x), "second.bias": (walk.direction, hidden)}
    torch.testing.assert_close(by_name, expected)


@pytest.mark.parametrize("deferred", [False, True])
def test_what_does_not_reach_the_logits_is_not_handed_over(deferred: bool) -> None:
    walk = Pass.of(randomise(Auxiliary().double()), samples(3, 4))
    seen: list[str] = []
    walk.propagate(walk.plan(), lambda planned, operation: seen.append(walk.name(planned)), deferred=deferred)
    assert seen == ["AddmmBackward0"] * 2


class Recorder(TorchDispatchMode):
    """Notes every operation with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[str, tuple[Any, ...], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations.append((func._schema.name, args, out))
        return out


def test_no_weight_gradient_and_no_gradient_of_the_first_input_is_computed() -> None:
    model = classifier((2, 8, 8), nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.Tanh()).double()
    fired: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda gradient, name=name: fired.append(name))
        parameter.register_post_accumulate_grad_hook(lambda parameter, name=name: fired.append(name))
    walk = Pass.of(model, samples(5, 2, 8, 8))
    plan = walk.plan()
    with Recorder() as recorder:
        walk.propagate(plan, ignore)
    assert fired == []
    # nothing for the first convolution, which is terminal; for the others the gradient of the input only
    masks = [list(args[-1]) for name, args, _ in recorder.operations if name == "aten::convolution_backward"]
    assert masks == [[True, False, False]]
    products = [out.shape for name, _, out in recorder.operations if name == "aten::mm"]
    assert products == [(5, 64)]


def test_operations_behind_parameters_are_not_executed() -> None:
    """A weight norm costs nothing until somebody asks for its gradient."""
    model = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)).double()
    walk = Pass.of(model, samples(5, 4))
    plan = walk.plan()
    with Recorder() as recorder:
        walk.propagate(plan, ignore)
    assert [name for name, *_ in recorder.operations if "norm" in name or "::mm" in name] == []


@pytest.mark.parametrize("case", ["residual", "frozen first layers", "in-place activation", "called twice"])
@pytest.mark.parametrize("deferred", [False, True])
def test_nothing_is_left_on_the_parameters(case: str, deferred: bool) -> None:
    make, shape = CASES[case]
    model = randomise(make()).eval().double()
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    before = [(parameter.requires_grad, parameter.grad, parameter._version) for parameter in model.parameters()]
    walk = Pass.of(model, samples(2, *shape))
    walk.propagate(walk.plan(), ignore, deferred=deferred)
    assert [(p.requires_grad, p.grad, p._version) for p in model.parameters()] == before
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_parameters_that_need_no_gradient_are_not_asked_for() -> None:
    model = frozen(two_layers(), 2)
    walk = Pass.of(model, samples(3, 4))
    seen: list[int] = []
    walk.propagate(walk.plan(), lambda planned, operation: seen.append(planned.index))
    assert len(seen) == 1


# --- hooks


def fires(walk: Pass) -> int:
    """How often anything of an earlier pass is still listening when the same graph is walked again."""
    seen: list[int] = []
    walk.propagate(walk.plan(), lambda planned, operation: seen.append(planned.index), keep=True)
    return len(seen)


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_hooks_are_gone_whatever_a_rule_does(error: type[BaseException] | None) -> None:
    walk = Pass.of(two_layers(), samples(3, 4))
    plan = walk.plan()
    calls: list[int] = []

    def receive(planned: Planned, operation: Operation) -> None:
        calls.append(planned.index)
        if error is not None:
            raise error("halt")

    if error is None:
        walk.propagate(plan, receive, keep=True)
        assert len(calls) == 2
    else:
        with pytest.raises(error, match="halt"):
            walk.propagate(plan, receive, keep=True)
        assert len(calls) == 1
    calls.clear()
    walk.ordinary_backward()
    assert calls == []
    assert fires(walk) == 2


def test_hooks_are_gone_after_an_exception_in_the_network_itself() -> None:
    class Halting(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.halt = True
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *deltas: Tensor) -> Tensor:
            if halts:
                raise KeyboardInterrupt
            return deltas[0]

    halts: list[bool] = []
    halting: Any = Halting.apply
    layers = {"first": nn.Linear(4, 5), "middle": nn.Linear(5, 5), "second": nn.Linear(5, 3)}
    walk = Pass.of(network(lambda m, x: m.second(halting(m.middle(m.first(x)))), **layers), samples(3, 4))
    plan = walk.plan()
    calls: list[int] = []
    halts.append(True)
    with pytest.raises(KeyboardInterrupt):
        walk.propagate(plan, lambda planned, operation: calls.append(planned.index), keep=True)
    assert len(calls) == 1
    halts.clear()
    walk.ordinary_backward()
    assert len(calls) == 1


def test_a_rule_may_ask_autograd_for_more() -> None:
    """Its own passes go by the hooks of operations behind, which must not take them for the pass that is measured."""
    model = two_layers()
    walk = Pass.of(model, samples(3, 4))
    deltas: list[Tensor] = []

    def receive(planned: Planned, operation: Operation) -> None:
        deltas.append(operation.delta)
        walk.ordinary_backward()

    walk.propagate(walk.plan(), receive, keep=True)
    plain: list[Tensor] = []
    walk.propagate(walk.plan(), lambda planned, operation: plain.append(operation.delta), keep=True)
    torch.testing.assert_close(deltas, plain)
    assert len(deltas) == 2


class Box:
    """A saved tensor in something that can be watched."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor.detach()  # a tensor with a history would keep the graph alive


@pytest.mark.parametrize("error", [None, ValueError])
@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_nothing_of_a_pass_stays_alive(error: type[Exception] | None, deferred: bool, keep: bool) -> None:
    """A hook on an operation that stayed there would close a circle that no garbage collector sees."""
    boxes: list[weakref.ref[Box]] = []

    def pack(tensor: Tensor) -> Box:
        box = Box(tensor)
        boxes.append(weakref.ref(box))
        return box

    def receive(planned: Planned, operation: Operation) -> None:
        operation.saved("mat1")
        if error is not None and len(operation.delta[0]) == 5:
            raise error("halt")

    def run() -> None:
        walk = Pass.of(two_layers(), samples(6, 4))
        walk.propagate(walk.plan(), receive, keep=keep, deferred=deferred)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        if error is None:
            run()
        else:
            with pytest.raises(error, match="halt"):
                run()
    gc.collect()
    assert len(boxes) == 4
    assert not any(box() is not None for box in boxes)


# --- plans that do not fit


AWAKE: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, Any]]] = {
    "terminal": (lambda m, x: m.head(x) + torch.relu(m.side(x) + x[:, :3]), {"side": nn.Linear(4, 3)}),
    "on the way": (
        lambda m, x: m.head(x) + torch.relu(m.side(m.stem(x).tanh()) + x[:, :3]),
        {"stem": nn.Linear(4, 4), "side": nn.Linear(4, 3)},
    ),
    "without a dense layer": (lambda m, x: m.head(x) + torch.relu(x[:, :3] * m.scale.abs()), {"scale": (3,)}),
}


def asleep_and_awake(case: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network whose side is dead for the first three samples, and alive for one of the four others."""
    recipe, members = AWAKE[case]
    model = network(recipe, head=nn.Linear(4, 3), **members)
    with torch.no_grad():
        for parameter in list(model.parameters())[2:]:
            parameter.div_(100)
    shift = torch.tensor([-100.0, -100.0, -100.0, 100.0]).unsqueeze(1)
    return model, samples(3, 4) - 100, samples(4, 4) + shift


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("case", AWAKE)
def test_a_gradient_where_none_was_expected(case: str, deferred: bool) -> None:
    model, asleep, awake = asleep_and_awake(case)
    walk = Pass.of(model, asleep)
    plan = walk.plan()
    assert any(planned.silent for planned in plan.operations)
    walk.propagate(plan, ignore, deferred=deferred)
    walk = Pass.of(model, awake)
    assert plan.adapted(walk.graph, 4) == plan
    with pytest.raises(Unplanned):
        walk.propagate(plan, ignore, deferred=deferred)
    walk = Pass.of(model, awake)
    assert not any(planned.silent for planned in walk.plan().operations)


@pytest.mark.parametrize("case", ["terminal", "on the way"])
def test_a_smaller_batch_tells_where_samples_lie_that_send_nothing(case: str) -> None:
    model, asleep, awake = asleep_and_awake(case)
    plan = Pass.of(model, asleep).plan(Pass.of(model, asleep[:1]))
    assert plan.reusable
    walk = Pass.of(model, awake)
    seen: list[str] = []
    walk.propagate(plan, lambda planned, operation: seen.append(walk.name(planned)))
    assert len(seen) == len(plan.operations)
