"""Networks that keep tensors in attributes from one call to the next."""

import copy
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from timm.models.levit import Attention as LevitAttention
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from gradmeter import GradientMeter, UnsupportedModelError
from gradmeter.reading.network import measuring
from gradmeter.reading.traced.forward import TracedForward
from gradmeter.reading.traced.program import traced_program
from oracles.gradients import expected_readings
from oracles.moments import assert_agree
from oracles.networks import randomise, samples

EXACT = {"norms": 1e-10, "shapes": 1e-8}


class Rotary(nn.Module):
    """Factors by position, computed for the longest input so far, as in older versions of LLaMA."""

    def __init__(self) -> None:
        super().__init__()
        self._reach(4)

    def _reach(self, length: int) -> None:
        self.longest = length
        self.register_buffer("factors", torch.arange(length).double().cos()[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.longest:
            self._reach(x.shape[1])
        return x * self.factors[: x.shape[1]]


class Filled(nn.Module):
    """Fills a buffer at its first call, and says so in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factors", None, persistent=False)
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.factors is None:
            self.factors, self.count = torch.linspace(0.5, 1.5, 5).double(), 5
        return x * (self.factors * (torch.arange(5) < self.count))


class Added(nn.Module):
    """The same with a buffer that is registered at the first call."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "factors"):
            self.register_buffer("factors", torch.linspace(0.5, 1.5, 5).double())
            self.count = 5
        return x * (self.factors * (torch.arange(5) < self.count))


class Preparing(nn.Module):
    """Lets its submodule prepare a table at the first call, and keeps others in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.child, self.is_ready = nn.Identity(), False
        self.tables: OrderedDict[str, Tensor] = OrderedDict()

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_ready:
            self.child.table, self.is_ready = torch.linspace(0.5, 1.5, 5).double(), True
            self.tables["own"] = self.child.table
        return x * self.child.table * self.tables["own"]


def assert_as_without_gradmeter(model: nn.Module, x: Tensor, *, gradients: bool) -> None:
    """Two measurements, and a call after them, give the outputs of a network that was never called before."""
    expected = copy.deepcopy(model)(x)
    meter = GradientMeter(model, gradients=gradients)
    for _ in range(2):
        torch.testing.assert_close(meter(x).logits, expected)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("kind", [Filled, Added, Preparing])
@pytest.mark.parametrize("gradients", [False, True])
def test_what_is_prepared_at_the_first_call(kind: type[nn.Module], gradients: bool) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(kind(), nn.Linear(5, 3)).double().eval(), samples(4, 5)
    assert_as_without_gradmeter(model, x, gradients=gradients)


@pytest.mark.parametrize("gradients", [False, True])
def test_a_buffer_and_what_says_how_long_it_is(gradients: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Rotary(), nn.Flatten(), nn.Linear(18, 3)).double().eval()
    x = samples(2, 6, 3)
    expected = copy.deepcopy(model)(x)
    meter = GradientMeter(model, gradients=gradients)
    for _ in range(2):
        torch.testing.assert_close(meter(x).logits, expected)
    assert (model[0].longest, len(model[0].factors)) == (4, 4)
    torch.testing.assert_close(model(x), expected)


class Table(nn.Module):
    """Computes a table at the first call, which a flag tells.

    Args:
        flag: "attribute"; "absent", if it is set at the first call only; "class", if it is one of the class before;
            "tensor", if it becomes one; "part", if the first call also adds a buffer.
        way: how the table is written.
    """

    ready: bool | Tensor = False

    def __init__(self, flag: str, way: str) -> None:
        super().__init__()
        self.flag, self.way = flag, way
        self.register_buffer("extra", None)
        if way == "weight":
            self.table = nn.Parameter(torch.zeros(5).double())
        else:
            self.register_buffer("table", torch.zeros(5).double())
        if flag not in ("absent", "class"):
            self.ready = False

    def prepare(self) -> None:
        values = torch.linspace(0.5, 1.5, 5).double()
        if self.way == "replaced":
            self.table = values
        elif self.way == "filled":
            self.table[:] = values
        else:
            self.table.data = values
        if self.flag == "part":
            self.extra = values
        if self.flag == "absent":
            self.is_computed = True
        else:
            self.ready = torch.tensor(True) if self.flag == "tensor" else True

    def forward(self, x: Tensor) -> Tensor:
        if not (hasattr(self, "is_computed") if self.flag == "absent" else self.ready):
            self.prepare()
        return x * self.table


@pytest.mark.parametrize("way", ["replaced", "filled", "data", "weight"])
@pytest.mark.parametrize("flag", ["attribute", "absent", "class", "tensor", "part"])
@pytest.mark.parametrize("gradients", [False, True])
def test_a_table_and_the_flag_that_it_is_computed(flag: str, way: str, gradients: bool) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(Table(flag, way), nn.Linear(5, 3)).double().eval(), samples(4, 5)
    assert_as_without_gradmeter(model, x, gradients=gradients)


class Counting(nn.Module):
    """Counts its calls in a buffer, and shows its input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.shown = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.shown = x.detach()
        return x


class Once(nn.Module):
    """Does what cannot be restored at its first call, and keeps a table for the length of the last input."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scales, self.ready, self.length = nn.Linear(5, 5), [0.5], False, 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.ready:
            self.layer.weight.data.div_(2)
            self.scales.append(2.0)
            self.ready = True
        if self.length != x.shape[1]:
            self.length, self.table = x.shape[1], torch.linspace(0.5, 1.5, x.shape[1]).to(x)[:, None]
        return (self.layer(x) * self.table * sum(self.scales)).mean(1)


def test_attributes_of_modules_whose_buffers_stay() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(Counting(), Once(), nn.Linear(5, 3)).double().eval(), samples(4, 6, 5)
    meter = GradientMeter(model, gradients=False)
    logits = [meter(x[:, :length]).logits for length in (6, 2, 6)]
    torch.testing.assert_close(logits[0], logits[2])
    torch.testing.assert_close(logits[1], model(x[:, :2]))
    torch.testing.assert_close(logits[0], model(x))


class Halving(prune.BasePruningMethod):
    """Prunes every other weight."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        mask = default_mask.clone()
        mask.view(-1)[::2] = 0
        return mask


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    "computed",
    [
        nn.utils.spectral_norm,
        nn.utils.weight_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
        lambda layer: Halving.apply(layer, "weight") and layer,
    ],
    ids=["spectral_norm", "weight_norm", "prune", "own prune"],
)
def test_a_network_whose_weight_is_computed_before_each_call(computed: Callable[[nn.Module], nn.Module]) -> None:
    """It can be copied after a measurement, and what is computed from the earlier weight stays in its graph."""
    layer = computed(nn.Linear(5, 3).double())
    network = nn.Sequential(layer, nn.Tanh(), nn.Linear(3, 3).double()).eval()
    x = torch.randn(4, 5).double()
    with torch.no_grad():
        network(x)
    readings = GradientMeter(network)(x)
    assert torch.equal(GradientMeter(copy.deepcopy(network))(x)["all", "l2"], readings["all", "l2"])
    network(x)
    weight = layer.weight
    GradientMeter(network)(x)
    assert layer.weight is weight
    weight.sum().backward()


class Memoised(nn.Module):
    """Computes factors from its weight for inputs of a new length."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(12).double())
        self.length, self.factors = 0, torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        if self.length != x.shape[1]:
            self.length, self.factors = x.shape[1], self.scale[: x.shape[1]].exp()
        return (x * self.factors).mean(1, keepdim=True) * torch.ones(3).double()


def test_a_memo_that_is_computed_from_a_weight_for_inputs_of_another_length() -> None:
    network = nn.Sequential(Memoised(), nn.Linear(3, 3).double()).eval()
    long, short = torch.randn(4, 12).double(), torch.randn(4, 8).double()
    with torch.no_grad():
        network(short)
        expected = copy.deepcopy(network)(long)
    GradientMeter(network)(long)
    torch.testing.assert_close(network(long), expected)


def test_a_counter_beside_an_attribute() -> None:
    model = nn.Sequential(Counting(), nn.Linear(5, 3)).eval()
    meter = GradientMeter(model)
    for _ in range(2):
        meter(torch.rand(2, 5))
        assert model[0].calls == 0


@pytest.mark.parametrize("way", ["in place", "data", "parameter"])
@pytest.mark.parametrize("after", ["removed", "none", "identity"])
@pytest.mark.parametrize("inner", [nn.BatchNorm1d(5), nn.Dropout(0.4)])
def test_an_inner_module_that_is_folded_into_the_weight(inner: nn.Module, way: str, after: str) -> None:
    class Folding(nn.Linear):
        def __init__(self) -> None:
            super().__init__(5, 5)
            self.inner: nn.Module | None = copy.deepcopy(inner)

        def folded(self, inner: nn.BatchNorm1d | nn.Dropout) -> tuple[Tensor, Tensor]:
            if isinstance(inner, nn.Dropout):
                return (1 - inner.p) * self.weight, self.bias
            scale = inner.weight / (inner.running_var + inner.eps).sqrt()
            return scale[:, None] * self.weight, scale * (self.bias - inner.running_mean) + inner.bias

        def forward(self, x: Tensor) -> Tensor:
            inner = self._modules.get("inner")
            if isinstance(inner, nn.BatchNorm1d | nn.Dropout):
                weight, bias = (values.detach() for values in self.folded(inner))
                if way == "in place":
                    self.weight.data.copy_(weight)
                    self.bias.data.copy_(bias)
                elif way == "data":
                    self.weight.data, self.bias.data = weight, bias
                else:
                    self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
                if after == "removed":
                    del self.inner
                else:
                    self.inner = None if after == "none" else nn.Identity()
            return super().forward(x)

    torch.manual_seed(0)
    model, x = nn.Sequential(Folding(), nn.Linear(5, 3)).double().eval(), samples(4, 5)
    randomise(model)
    assert_as_without_gradmeter(model, x, gradients=False)


class Child(nn.Linear):
    """Not a class of PyTorch, so that its weight is watched."""


@pytest.mark.parametrize("folded", ["norm", "adapters"])
def test_what_is_folded_into_the_weight_of_an_inner_module(folded: str) -> None:
    class Folding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.child, self.norm = Child(5, 5, bias=False), nn.BatchNorm1d(5) if folded == "norm" else nn.Identity()
            if folded == "adapters":
                self.a, self.b = nn.Parameter(torch.rand(2, 5)), nn.Parameter(torch.rand(5, 2))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                if isinstance(self.norm, nn.BatchNorm1d):
                    self.child.weight.mul_((self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt())[:, None])
                    self.norm = nn.Identity()
                elif hasattr(self, "a"):
                    self.child.weight.add_(self.b @ self.a)
                    del self.a, self.b
            result: Tensor = self.norm(self.child(x))
            return result

    torch.manual_seed(0)
    model, x = nn.Sequential(Folding(), nn.Linear(5, 3)).double().eval(), samples(4, 5)
    randomise(model)
    assert_as_without_gradmeter(model, x, gradients=False)


def test_a_weight_that_is_replaced_for_inputs_of_another_length() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(1, 4, 5))

        def forward(self, x: Tensor) -> Tensor:
            if x.shape[1] != self.weight.shape[1]:
                self.weight = nn.Parameter(F.interpolate(self.weight.mT, x.shape[1], mode="linear").mT)
            return (x + self.weight).tanh().mean(1)

    torch.manual_seed(0)
    model, x = nn.Sequential(Positions(), nn.Linear(5, 3)).double().eval(), samples(4, 6, 5)
    meter = GradientMeter(model)
    readings = meter(x)
    _, expected = expected_readings(model, x)
    assert_agree(readings.values, expected, norms=1e-10, shapes=1e-8)
    assert_agree(meter(x).values, expected, norms=1e-10, shapes=1e-8)


def test_a_counter_beside_a_module_that_each_call_makes() -> None:
    class Pooling(Counting):
        def forward(self, x: Tensor) -> Tensor:
            self.pool = nn.AvgPool2d(x.shape[-2:])
            result: Tensor = self.pool(super().forward(x)).flatten(1)
            return result

    model = nn.Sequential(Pooling(), nn.Linear(3, 2)).eval()
    meter = GradientMeter(model)
    for _ in range(2):
        meter(torch.rand(2, 3, 4, 4))
        assert model[0].calls == 0


def test_a_buffer_that_is_registered_once() -> None:
    class Masking(Counting):
        """Remembers where it cannot be restored which masks there are."""

        def __init__(self) -> None:
            super().__init__()
            self.lengths: list[int] = []

        def forward(self, x: Tensor) -> Tensor:
            length = x.shape[1]
            if length not in self.lengths:
                self.lengths.append(length)
                self.register_buffer(f"mask{length}", torch.ones(length), persistent=False)
            result: Tensor = super().forward(x) * getattr(self, f"mask{length}")
            return result

    model, x = nn.Sequential(Masking(), nn.Linear(5, 3)).eval(), torch.rand(4, 5)
    assert_as_without_gradmeter(model, x, gradients=True)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_weight_that_each_call_replaces(frozen: bool) -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(5, 5).double(), requires_grad=not frozen)

        def forward(self, x: Tensor) -> Tensor:
            self.weight = nn.Parameter(F.normalize(self.weight.data, dim=1), requires_grad=not frozen)
            return F.linear(x, self.weight)

    torch.manual_seed(0)
    model, x = nn.Sequential(Normalised(), nn.Linear(5, 3)).double().eval(), samples(4, 5)
    assert_as_without_gradmeter(model, x, gradients=False)
    if frozen:
        assert_as_without_gradmeter(model, x, gradients=True)
    else:
        with pytest.raises(UnsupportedModelError, match="creates new layers or parameters in every call"):
            GradientMeter(model)(x)


class Scaled(nn.Module):
    """Sets its weight by the first inputs, which a flag tells, and writes neither with a new version."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))
        self.register_buffer("is_ready", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_ready:
            self.scale.data.copy_(1 / x.std(0))
            self.is_ready.data.fill_(True)
        return x * self.scale


class Built(nn.Module):
    """Builds a layer at the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.layer is None:
            torch.manual_seed(1)
            self.layer = nn.Linear(5, 3).to(x)
        result: Tensor = self.layer(x)
        return result


@pytest.mark.parametrize("last", [Built(), nn.Linear(5, 3)])
def test_weights_that_the_first_inputs_set(last: nn.Module) -> None:
    model, x = nn.Sequential(Scaled(), last).double().eval(), samples(4, 5)
    unmeasured = copy.deepcopy(model)
    GradientMeter(model, gradients=False)(samples(6, 5, seed=1))
    torch.testing.assert_close(model(x), unmeasured(x))


def test_a_plain_module_that_holds_a_buffer_and_a_number() -> None:
    class Holding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cache = nn.Module()
            self.cache.register_buffer("table", torch.zeros(0).double())
            self.cache.length = 0

        def forward(self, x: Tensor) -> Tensor:
            if self.cache.length < x.shape[1]:
                self.cache.length, self.cache.table = x.shape[1], torch.linspace(0.5, 1.5, x.shape[1]).double()
            return x * self.cache.table

    model, x = nn.Sequential(Holding(), nn.Linear(5, 3)).double().eval(), samples(4, 5)
    assert_as_without_gradmeter(model, x, gradients=True)


def test_a_module_that_is_built_at_its_first_call_stays_built() -> None:
    class Built(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner: nn.Module | None = None
            self.scale: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            if self.inner is None:
                self.inner, self.scale = nn.Linear(5, 5).double(), torch.tensor(2.0)
            result: Tensor = self.inner(x) * self.scale
            return result

    model, x = nn.Sequential(Built(), nn.Linear(5, 3)).double().eval(), samples(2, 5)
    meter = GradientMeter(model, gradients=False)
    torch.testing.assert_close(meter(x).logits, meter(x).logits)
    assert model[0].scale is not None


# --- attention of LeViT, which keeps its biases


def levit() -> tuple[nn.Sequential, Tensor]:
    attention = LevitAttention(8, 4, num_heads=2, resolution=(3, 3))
    model = nn.Sequential(attention, nn.Flatten(), nn.Linear(72, 3)).double().eval()
    randomise(model)
    return model, samples(3, 9, 8)


@pytest.mark.parametrize("gradients", [False, True])
def test_biases_that_were_computed_in_an_earlier_call(gradients: bool) -> None:
    model, x = levit()
    layers, values = expected_readings(model, x)
    with torch.set_grad_enabled(gradients):
        model(x).sum()
    kept = model[0].attention_bias_cache
    assert kept
    meter = GradientMeter(model)
    assert meter.layers == layers
    for _ in range(2):
        assert_agree(meter(x).values, values, **EXACT)
    meter.costs(x)
    assert model[0].attention_bias_cache is kept


def test_other_threads_keep_their_biases_during_a_measurement() -> None:
    model, x = levit()
    with torch.no_grad():
        before = model(x)
    failed: list[BaseException] = []

    def call() -> None:
        try:
            with torch.no_grad():
                torch.testing.assert_close(model(x), before)
            torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), before)
            torch.testing.assert_close(copy.deepcopy(model)(x), before)
        except BaseException as error:
            failed.append(error)

    with measuring(model):
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert model(x).grad_fn is not None
        (gradient,) = torch.autograd.grad(model(x).sum(), [model[0].attention_biases])
    assert not failed
    assert gradient.abs().sum() > 0


def test_tracing_a_network_that_kept_its_biases() -> None:
    model, x = levit()
    model, x = model.float(), x.float()
    before = traced_program(TracedForward(model, x, ["2"], embedding=False), x)
    with torch.no_grad():
        model(x)
    after = traced_program(TracedForward(model, x, ["2"], embedding=False), x)
    assert [node.name for node in after.graph.nodes] == [node.name for node in before.graph.nodes]


# --- the cache of parametrizations


def test_parametrizations_cached_by_another_thread_meanwhile() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))
    cached = parametrize.cached()
    cached.__enter__()
    assert layer.weight.requires_grad
    with measuring(layer):
        cached.__exit__(None, None, None)
    assert parametrize._cache_enabled == 0
    assert not parametrize._cache
