"""Every compiled kernel against float64 gradients that are materialised tap by tap."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gradmeter.reading.kernels import compiled
from gradmeter.reading.statistics import PowerSums, statistics
from oracles.moments import assert_agree, eight

if not compiled.available():
    pytest.skip(f"compiled kernel {compiled.reason()}", allow_module_level=True)

from gradmeter.reading.kernels import _compiled

VARIANTS = _compiled.variants()


@pytest.fixture(params=VARIANTS, autouse=True, scope="module")
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _compiled.variant()
    _compiled.select(request.param)
    yield request.param
    _compiled.select(before)


@dataclass(frozen=True)
class Layer:
    """A correlation; spatial entries have one number per dimension."""

    delta: Tensor
    activation: Tensor
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int = 1

    def measured(self, *, bias: bool = False) -> tuple[Tensor, Tensor | None]:
        return compiled.correlate(
            self.delta,
            self.activation,
            self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            padding=self.padding,
            groups=self.groups,
            bias=bias,
        )

    def sums(self) -> Tensor:
        return self.measured()[0]

    def gradients(self) -> Tensor:
        """[N, M, C / groups, *kernel] float64."""
        return _gradients(self, self.delta.double(), self.activation.double())

    def magnitudes(self) -> Tensor:
        """The same for absolute values, which bounds the rounding errors of the gradients."""
        return _gradients(self, self.delta.double().abs(), self.activation.double().abs())


def _gradients(layer: Layer, delta: Tensor, activation: Tensor) -> Tensor:
    out, spatial = delta.shape[2:], activation.shape[2:]
    amounts: list[int] = []
    for count, size, kernel, stride, dilation, padding in zip(
        out, spatial, layer.kernel, layer.stride, layer.dilation, layer.padding, strict=True
    ):
        reach = (count - 1) * stride + (kernel - 1) * dilation + 1
        amounts = [padding, max(0, reach - padding - size), *amounts]
    padded = F.pad(activation, amounts)
    samples, groups = len(delta), layer.groups
    grouped = delta.reshape(samples, groups, delta.shape[1] // groups, -1)
    gradients = delta.new_empty(samples, delta.shape[1], activation.shape[1] // groups, *layer.kernel)
    for tap in itertools.product(*map(range, layer.kernel)):
        seen = padded
        for axis, (t, dilation, stride, count) in enumerate(
            zip(tap, layer.dilation, layer.stride, out, strict=True), start=2
        ):
            seen = seen.narrow(axis, t * dilation, (count - 1) * stride + 1)
            seen = seen[(slice(None),) * axis + (slice(None, None, stride),)]
        seen = seen.reshape(samples, groups, activation.shape[1] // groups, -1)
        gradients[(..., *tap)] = torch.einsum("ngmt,ngct->ngmc", grouped, seen).flatten(1, 2)
    return gradients


def plain(delta: Tensor, activation: Tensor, kernel: Sequence[int], padding: int = 0, groups: int = 1) -> Layer:
    ones = (1,) * len(kernel)
    return Layer(delta, activation, tuple(kernel), ones, ones, (padding,) * len(kernel), groups)


def seven(gradients: Tensor) -> Tensor:
    """[N, 7] from gradients [N, ...]."""
    g = gradients.double().flatten(1)
    powers = [g.pow(k).sum(1) for k in (1, 2, 3, 4)]
    return torch.stack([*powers, g.abs().sum(1), g.amin(1), g.amax(1)], dim=1)


def assert_sums(actual: Tensor, layer: Layer) -> None:
    """Compare sums, within the float32 rounding errors of each entry and of the sums."""
    g, magnitude = layer.gradients().flatten(1), layer.magnitudes().flatten(1)
    error = 5e-7 * magnitude
    size = g.abs()
    limits = [(k * size.pow(k - 1) * error).sum(1) + 1e-6 * size.pow(k).sum(1) for k in (1, 2, 3, 4)]
    extreme = error.amax(1)
    limit = torch.stack([*limits, limits[0], extreme, extreme], dim=1)
    excess = (actual - seven(g)).abs() - limit
    assert (excess <= 0).all(), f"{actual}\nexpected\n{seven(g)}\nwithin\n{limit}\n{layer}"


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda tensor: tensor,
    "channels last": _channels_last,
    "samples last": lambda tensor: tensor.movedim(0, -1).contiguous().movedim(-1, 0),
    "every second": lambda tensor: tensor.repeat_interleave(2, dim=-1)[..., ::2],
    "expanded": lambda tensor: tensor[..., :1].expand_as(tensor),
    "expanded channels": lambda tensor: tensor[:, :1].expand_as(tensor),
}


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """Sizes around the tiles' limits, windows that extend beyond the image on any side, every memory order."""
    dimensions = draw(st.integers(1, 3))

    def spatial(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(least, most)) for _ in range(dimensions))

    kernel, stride, dilation = spatial(1, 7 if dimensions < 3 else 3), spatial(1, 3), spatial(1, 2)
    padding, size, out = spatial(0, 3), spatial(1, 9), spatial(1, 7)
    groups = draw(st.sampled_from([1, 1, 2, 3, 5, 16, 19]))
    per_group = st.integers(1, 70) if groups == 1 else st.one_of(st.just(1), st.integers(1, 35 if groups < 5 else 4))
    samples, outputs, inputs = draw(st.integers(1, 3)), groups * draw(per_group), groups * draw(per_group)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    delta = torch.randn(samples, outputs, *out, generator=generator)
    activation = torch.randn(samples, inputs, *size, generator=generator)
    orders = st.sampled_from(sorted(LAYOUTS))
    delta, activation = LAYOUTS[draw(orders)](delta), LAYOUTS[draw(orders)](activation)
    return Layer(delta, activation, kernel, stride, dilation, padding, groups)


@given(layers())
def test_any_geometry_in_any_memory_order(layer: Layer) -> None:
    sums, bias = layer.measured(bias=True)
    assert_sums(sums, layer)
    assert bias is not None
    exact = layer.delta.double().flatten(2)
    assert ((bias - exact.sum(2)).abs() <= 1e-6 * exact.abs().sum(2)).all()


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda: plain(torch.randn(3, 16, 28, 28), torch.rand(3, 1, 28, 28), (3, 3), 1), id="stem"),
        pytest.param(lambda: plain(torch.randn(2, 40, 9, 9), torch.randn(2, 64, 9, 9), (3, 3), 1), id="convolution"),
        pytest.param(lambda: plain(torch.randn(2, 48, 2, 2), torch.randn(2, 48, 2, 2), (3, 3), 1), id="small map"),
        pytest.param(lambda: plain(torch.randn(2, 48, 1, 1), torch.randn(2, 48, 1, 1), (3, 3), 1), id="one position"),
        pytest.param(
            lambda: plain(torch.randn(2, 40, 9, 9), torch.randn(2, 40, 9, 9), (5, 5), 2, groups=40), id="depthwise"
        ),
        pytest.param(lambda: plain(torch.randn(2, 7, 20000), torch.randn(2, 3, 20000), (3,), 1), id="long"),
        pytest.param(lambda: plain(torch.randn(2, 50, 3000), torch.randn(2, 40, 3000), (1,)), id="many positions"),
        pytest.param(
            lambda: plain(torch.randn(2, 3, 70, 70), torch.randn(2, 3, 70, 70), (3, 3), 1, groups=3), id="large map"
        ),
    ],
)
def test_the_eight_statistics_are_exact_to_six_digits(draw: Callable[[], Layer]) -> None:
    # With other numbers, terms may cancel so that the error exceeds 1e-6: in none of 600 draws, but in one test run.
    torch.manual_seed(0)
    layer = draw()
    gradients = layer.gradients().flatten(1)
    sums = layer.sums()
    actual = statistics(PowerSums(gradients.shape[1], sums))
    assert_agree(actual, eight(gradients.numpy()), norms=1e-6, shapes=1e-5)


@pytest.mark.parametrize(("width", "groups"), [(3, 1), (20, 1), (20, 20)])
def test_a_power_of_two_changes_no_bit(width: int, groups: int) -> None:
    """g^4 of gradients around 1e-20 and 1e+20 lies far outside float32."""
    layer = plain(torch.randn(2, 20, 6, 6), torch.randn(2, width, 6, 6), (3, 3), 1, groups)
    expected = layer.sums()
    powers = torch.tensor([1, 2, 3, 4, 1, 1, 1], dtype=torch.float64)
    for exponent in (-66, 66):
        scaled = plain(layer.delta * 2.0**exponent, layer.activation, (3, 3), 1, groups).sums()
        assert torch.equal(scaled, expected * torch.exp2(exponent * powers))


def test_gradients_far_smaller_than_their_factors_keep_their_fourth_power() -> None:
    """The largest delta is multiplied with zeros of the activation only."""
    delta, activation = torch.randn(2, 8, 50) * 1e-15, torch.randn(2, 20, 50)
    delta[:, :, 7], activation[:, :, 7] = 1.0, 0.0
    assert_sums(plain(delta, activation, (1,)).sums(), plain(delta * 1, activation, (1,)))
    actual, expected = plain(delta, activation, (1,)).sums(), seven(plain(delta, activation, (1,)).gradients())
    torch.testing.assert_close(actual[:, 3], expected[:, 3], rtol=1e-5, atol=0)


def test_a_gradient_of_one_entry() -> None:
    delta, activation = torch.randn(4, 1, 5), torch.randn(4, 1, 5)
    entry = (delta.double() * activation.double()).sum((1, 2))
    actual = plain(delta, activation, (1,)).sums()
    torch.testing.assert_close(actual, seven(entry.unsqueeze(1)), rtol=4e-6, atol=1e-6)


def test_zeros_stay_zeros() -> None:
    layer = plain(torch.zeros(2, 20, 4, 4), torch.randn(2, 20, 4, 4), (3, 3), 1)
    assert torch.equal(layer.sums(), torch.zeros(2, 7, dtype=torch.float64))


def test_windows_that_never_meet_the_image_are_zeros_among_the_extremes() -> None:
    layer = plain(torch.ones(1, 16, 1, 1), torch.ones(1, 16, 1, 1), (3, 3), 1)
    assert layer.sums()[0].tolist() == [256, 256, 256, 256, 256, 0, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["delta", "activation"])
@pytest.mark.parametrize(("width", "groups", "size"), [(3, 1, 5), (20, 1, 5), (20, 20, 5), (20, 1, 1)])
def test_what_is_not_finite_shows_in_the_sums_of_its_sample(
    value: float, place: str, width: int, groups: int, size: int
) -> None:
    layer = plain(torch.randn(2, 20, size, size), torch.randn(2, width, size, size), (3, 3), 1, groups)
    getattr(layer, place)[0, 2, -1, -1] = value
    sums = layer.sums()
    assert not sums[0, :5].isfinite().any()
    assert not sums[0, 5:].isfinite().all()
    assert sums[1].isfinite().all()


@pytest.mark.parametrize("samples", [1, 3, 9])
@pytest.mark.parametrize(
    ("outputs", "inputs", "groups"), [(70, 80, 1), (16, 1, 1), (80, 80, 80)], ids=["dense", "stem", "depthwise"]
)
def test_the_number_of_threads_changes_no_bit(samples: int, outputs: int, inputs: int, groups: int) -> None:
    layer = plain(torch.randn(samples, outputs, 24, 24), torch.randn(samples, inputs, 24, 24), (3, 3), 1, groups)
    one = layer.measured(bias=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = layer.measured(bias=True)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one[0], two[0])
    assert one[1] is not None
    assert two[1] is not None
    assert torch.equal(one[1], two[1])


def test_threads_of_its_own_do_the_same(variant: str) -> None:
    layer = plain(torch.randn(5, 40, 9, 9), torch.randn(5, 40, 9, 9), (3, 3), 1)
    arguments = (layer.kernel, layer.stride, layer.dilation, layer.padding, 1)
    actual = torch.empty(5, 7, dtype=torch.float64)
    _compiled.use_openmp(0, 0)
    try:
        _compiled.correlate(layer.delta, layer.activation, *arguments, actual, None, 3)
    finally:
        _compiled.use_openmp(*compiled._openmp())
    assert torch.equal(actual, layer.sums())


def test_tensors_with_a_history_are_read_and_left_alone() -> None:
    delta, activation = torch.randn(2, 4, 5, requires_grad=True), torch.randn(2, 3, 7, requires_grad=True)
    sums = plain(delta, activation, (3,)).sums()
    assert not sums.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 1), (1, 1000), (4, 70001), (2000, 3)])
def test_reduce(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    values = torch.randn(shape, dtype=dtype) * 1e-20
    twice = values.repeat_interleave(2, 1)[:, ::2]
    for order in (values, values.t().contiguous().t(), twice):
        torch.testing.assert_close(
            compiled.reduce(order)[:, [1, 3, 4, 5, 6]], seven(values)[:, [1, 3, 4, 5, 6]], rtol=1e-12, atol=0
        )
        scale = values.double().abs()
        for column, power in ((0, 1), (2, 3)):
            error = (compiled.reduce(order)[:, column] - seven(values)[:, column]).abs()
            assert (error <= 1e-12 * scale.pow(power).sum(1)).all()


def test_reduce_shows_what_is_not_finite() -> None:
    values = torch.zeros(2, 100000)
    values[0, 99999] = float("nan")
    assert compiled.reduce(values)[0].isnan().all()
    assert compiled.reduce(values)[1].tolist() == [0] * 7


def reduce_output(values: Tensor) -> Tensor:
    sums = torch.empty(len(values), 8, dtype=torch.float64)
    compiled.reduce_output(values, sums.numpy())
    return sums


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 1), (4, 70001), (2000, 3), (2, 70, 5), (3, 7, 9, 6), (2, 3, 40, 30, 20)])
def test_reduce_output(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """The sums of `reduce`, and the number of positive values, in every memory order."""
    values = torch.randn(shape, dtype=dtype)
    orders = [change(values) for name, change in LAYOUTS.items() if "channels" not in name or len(shape) > 2]
    for order in [*orders, values.transpose(1, -1), values.double().to(dtype).requires_grad_()]:
        sums, flat = reduce_output(order), order.detach().flatten(1)
        assert sums[:, 7].tolist() == [int((row > 0).sum()) for row in flat]
        expected, scale = seven(flat), flat.double().abs()
        powers = torch.stack([scale.pow(k).sum(1) for k in (1, 2, 3, 4, 1, 0, 0)], dim=1)
        powers[:, 5:] = 0
        assert ((sums[:, :7] - expected).abs() <= 1e-12 * powers).all()
    assert torch.equal(reduce_output(values)[:, :7], compiled.reduce(values.flatten(1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("places", [range(5), range(100, 105)], ids=["few values", "vectors"])
def test_positive_values(dtype: torch.dtype, places: range) -> None:
    """Infinity and the smallest denormal number are positive; zeros and NaN are not."""
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    values = torch.full((2, places.stop), -1.0, dtype=dtype)
    values[0, list(places)] = torch.tensor([float("inf"), smallest, 0.0, -0.0, -smallest], dtype=dtype)
    values[1, list(places)] = torch.tensor([float("nan"), -float("inf"), smallest, 2.0, -2.0], dtype=dtype)
    sums = reduce_output(values)
    assert sums[:, 7].tolist() == [2, 2]
    assert sums[0, :2].tolist() == [float("inf")] * 2
    assert sums[1, :7].isnan().all()


def test_the_number_of_threads_changes_no_sum_of_an_output() -> None:
    values = torch.randn(3, 5, 300, 300)
    one, two = torch.empty(3, 8, dtype=torch.float64), torch.empty(3, 8, dtype=torch.float64)
    _compiled.reduce(values, one, 1, True)
    _compiled.reduce(values, two, 2, True)
    assert torch.equal(one, two)


@pytest.mark.parametrize("values", [torch.ones(3), torch.ones(2, 0), torch.ones(2, 3, 0)])
def test_outputs_without_values_are_refused(values: Tensor) -> None:
    with pytest.raises(ValueError, match="values"):
        reduce_output(values)


@pytest.mark.parametrize("shape", [(2, 3), (2, 70, 5), (3, 70, 9, 7), (1, 5, 40, 50), (2, 9, 3, 4, 5)])
@pytest.mark.parametrize("centred", [False, True])
def test_channel_sums(shape: tuple[int, ...], centred: bool) -> None:
    mean = torch.randn(shape[1]) if centred else None
    for first, second in itertools.product(sorted(LAYOUTS), repeat=2):
        delta, activation = LAYOUTS[first](torch.randn(shape)), LAYOUTS[second](torch.randn(shape) + 100)
        products, totals = compiled.channel_sums(delta, activation, mean)
        d, a = delta.double().reshape(*shape[:2], -1), activation.double().reshape(*shape[:2], -1)
        if mean is not None:
            a = a - mean.double().unsqueeze(1)
        torch.testing.assert_close(products, (d * a).sum(2), rtol=1e-12, atol=1e-9)
        torch.testing.assert_close(totals, d.sum(2), rtol=1e-12, atol=1e-11)


def test_no_samples_give_no_sums() -> None:
    assert plain(torch.empty(0, 3, 4), torch.empty(0, 2, 4), (1,)).sums().shape == (0, 7)
    assert compiled.reduce(torch.empty(0, 3)).shape == (0, 7)
    assert compiled.channel_sums(torch.empty(0, 3, 4), torch.empty(0, 3, 4))[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"delta": torch.ones(2, 4, 5, dtype=torch.float64)},
            TypeError,
            "delta.*float64.*float32",
        ),
        (
            {"activation": torch.ones(2, 3, 5, device="meta")},
            TypeError,
            "activation.* meta;",
        ),
        ({"activation": torch.ones(3, 3, 5)}, ValueError, r"delta.*\(2, 4, 5\).*\(3, 3, 5\)"),
        ({"activation": torch.ones(2, 3, 5, 5)}, ValueError, r"\(2, 3, 5, 5\)"),
        ({"activation": torch.ones(2, 3, 0)}, ValueError, r"\(2, 3, 0\)"),
        ({"delta": torch.ones(2, 4)}, ValueError, r"delta.*\(2, 4\)"),
        ({"groups": 2}, ValueError, "groups=2.*4.*3"),
        ({"groups": 0}, ValueError, "groups=0"),
        ({"kernel": (0,)}, ValueError, "kernel.* 1"),
        ({"stride": (1, 1)}, ValueError, "stride"),
        ({"padding": (-1,)}, ValueError, "padding.* 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], error: type[Exception], message: str) -> None:
    arguments: dict[str, object] = {
        "delta": torch.ones(2, 4, 5),
        "activation": torch.ones(2, 3, 5),
        "kernel": (1,),
        "stride": (1,),
        "dilation": (1,),
        "padding": (0,),
    }
    with pytest.raises(error, match=message) as caught:
        compiled.correlate(**(arguments | changes))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
