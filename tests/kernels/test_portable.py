from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from gradmeter.kernels import portable, power_sums
from gradmeter.layers.gradients import Direct, Outer
from gradmeter.statistics import PowerSums, statistics
from oracles.moments import assert_agree, eight
from oracles.networks import samples


@dataclass
class Spy:
    """A gradient that notes how many samples of it were held at once."""

    inner: Direct
    rows: list[int] = field(default_factory=list)

    @property
    def samples(self) -> int:
        return self.inner.samples

    @property
    def bytes_per_sample(self) -> int:
        return self.inner.bytes_per_sample

    def materialise(self, rows: slice) -> Tensor:
        made = self.inner.materialise(rows)
        self.rows.append(len(made))
        return made

    def closed_form(self) -> PowerSums | None:
        return None


@pytest.mark.parametrize("chunk_bytes", [1, 3000, 10**9])
def test_chunks_do_not_show(chunk_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_CHUNK_BYTES", chunk_bytes)
    spy = Spy(Direct(samples(7, 5, 8)))
    found = power_sums([spy])
    assert found.count == 40
    assert_agree(statistics(found), eight(spy.inner.values.numpy()), norms=1e-13, shapes=1e-9)
    assert sum(spy.rows) == 7
    assert max(spy.rows) == min(7, max(1, chunk_bytes // spy.bytes_per_sample))


def test_contributions_are_added_before_they_are_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "_CHUNK_BYTES", 2000)
    outer = Outer(samples(7, 5), samples(7, 4, seed=2))
    direct = Direct(samples(7, 5, 4, seed=3))
    total = outer.materialise(slice(0, 7)) + direct.values - 2 * direct.values
    found = power_sums([outer, direct, Direct(-2 * direct.values)])
    assert_agree(statistics(found), eight(total.numpy()), norms=1e-12, shapes=1e-9)


def test_contributions_that_cancel() -> None:
    values = samples(2, 6)
    assert (statistics(power_sums([Direct(values), Direct(-values)])) == 0).all()


def test_a_closed_form_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    outer = Outer(samples(3, 4), samples(3, 5, seed=2))

    def refuse(self: Outer, rows: slice) -> Tensor:
        raise AssertionError("materialised")

    monkeypatch.setattr(Outer, "materialise", refuse)
    exact = torch.einsum("nm,nk->nmk", outer.delta, outer.activation)
    assert_agree(statistics(power_sums([outer])), eight(exact.numpy()), norms=1e-13, shapes=1e-9)
