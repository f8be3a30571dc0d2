"""A kind of synthetic unknowns that is registered from outside the package."""

from collections.abc import Iterator

import pytest
from torch import Generator, Tensor
from torch.nn import functional

from gradmeter import GradientMeter, TrustModel
from gradmeter.trust.synthetic import KINDS, per_kind, register_unknown
from trust.trained import digits, loader, trained

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_fits")]

NAME = "frame"


def framed(images: Tensor) -> Tensor:
    """Draw a white border of one pixel."""
    return functional.pad(images[:, :, 1:-1, 1:-1], (1, 1, 1, 1), value=1.0)


@pytest.fixture
def batches() -> Iterator[list[Tensor]]:
    """The images that the registered kind is made from; the kind is removed after the test."""
    seen: list[Tensor] = []

    @register_unknown(NAME)
    def kind(images: Tensor, others: Tensor, generator: Generator) -> Tensor:
        seen.append(images)
        return framed(images)

    yield seen
    KINDS.pop(NAME, None)


def fitted() -> TrustModel:
    return TrustModel(GradientMeter(trained()), reads="forward").fit(loader(300, 700))


def test_a_trust_model_learns_from_a_registered_kind_until_it_is_removed(batches: list[Tensor]) -> None:
    with_kind = fitted()
    count = per_kind(400)
    assert [images.shape for images in batches] == [(count, 1, 8, 8)]
    assert 0 <= batches[0].min() < batches[0].max() <= 1
    del KINDS[NAME]
    without = fitted()
    assert len(batches) == 1
    assert with_kind.judge is not None
    assert without.judge is not None
    assert without.judge.synthetic == per_kind(400) * len(KINDS)
    assert with_kind.judge.synthetic == count * (len(KINDS) + 1)
    unknown = framed(digits()[0][1000:])
    assert with_kind.predict_proba(unknown).mean() < without.predict_proba(unknown).mean() - 0.005
