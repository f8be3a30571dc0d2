"""The choice of the reduction for the outputs of layers."""

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


@pytest.mark.parametrize("kernel", ["compiled", "portable"])
def test_sums_of_outputs(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel == "portable":
        monkeypatch.setattr(compiled, "available", lambda: False)
    outputs = OUTPUTS * 20  # more than there is room for at first
    sums = sums_of(outputs)
    assert sums.counts == [output[0].numel() for output in outputs]
    assert not sums.numbers.requires_grad
    for actual, output in zip(sums.numbers, outputs, strict=True):
        torch.testing.assert_close(actual[:, :7], PowerSums.of(output.detach()).numbers, rtol=1e-12, atol=1e-12)
        assert torch.equal(actual[:, 7], (output > 0).flatten(1).double().sum(1))


def test_no_outputs() -> None:
    assert OutputSums(4).numbers.shape == (0, 4, 8)
