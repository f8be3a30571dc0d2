"""The choice of the reduction for the outputs of layers."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gradmeter.reading.kernels import OutputSums, compiled
from gradmeter.reading.statistics import PowerSums

OUTPUTS: list[Tensor] = [
    torch.randn(4, 7),
    torch.randn(4, 3, 5, 6).contiguous(memory_format=torch.channels_last),
    torch.randn(6, 4, 5).transpose(0, 1),
    torch.randn(4, 1000).double(),
    torch.randn(4, 9).bfloat16(),
    torch.randn(4, 9, requires_grad=True),
    torch.randn(4, 1),
    torch._neg_view(torch.randn(4, 6)),
]


def sums_of(outputs: list[Tensor]) -> OutputSums:
    sums = OutputSums(4)
    assert [sums.add(output) for output in outputs] == [*range(len(outputs))]
    return sums


@pytest.fixture(params=["compiled", "portable"])
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "portable":
        monkeypatch.setattr(compiled, "available", lambda: False)


@pytest.mark.usefixtures("_kernel")
def test_sums_of_outputs() -> None:
    outputs = OUTPUTS * 20  # more than there is room for at first
    sums = sums_of(outputs)
    assert sums.counts == [output[0].numel() for output in outputs]
    assert not sums.numbers.requires_grad
    for actual, output in zip(sums.numbers, outputs, strict=True):
        torch.testing.assert_close(actual[:, :7], PowerSums.of(output.detach()).numbers, rtol=1e-12, atol=1e-12)
        assert torch.equal(actual[:, 7], (output > 0).flatten(1).double().sum(1))


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("change", [torch.abs, torch.neg, torch.relu, torch.zeros_like, torch.clone])
def test_entries_that_do_not_count(change: Callable[[Tensor], Tensor]) -> None:
    kept = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 1, 1]]).bool()
    sums = OutputSums(4)
    outputs = [change(torch.randn(4, 3, 5)), change(torch.randn(4, 2, 3, dtype=torch.float64)).requires_grad_()]
    sums.add(outputs[0].masked_fill(~kept[..., None], torch.nan), kept[..., None])
    sums.add(outputs[1], kept[:, None])
    assert not sums.numbers.requires_grad
    for row, positions in enumerate(kept):
        for actual, count, values in zip(
            sums.numbers[:, row], sums.counts, (outputs[0][row, positions], outputs[1][row, :, positions]), strict=True
        ):
            expected = PowerSums.of(values.detach().reshape(1, -1))
            assert isinstance(count, Tensor)
            assert count[row] == expected.count
            torch.testing.assert_close(actual[:7], expected.numbers[0], rtol=1e-12, atol=1e-12)
            assert actual[7] == (values > 0).sum()


def test_no_outputs() -> None:
    assert OutputSums(4).numbers.shape == (0, 4, 8)
