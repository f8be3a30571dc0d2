import pytest
import torch
from torch import Tensor

from gradmeter.trust.plateau import Plateau


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def rates(accuracies: list[float], patience: int) -> list[float]:
    """Return the rates of a single model after epochs with these accuracies."""
    plateau, seen = Plateau.start(1, patience), []
    for accuracy in accuracies:
        plateau.step(column(accuracy))
        seen.append(plateau.rate.item())
    return seen


def test_rate_falls_tenfold_down_to_the_floor_and_then_the_model_stops() -> None:
    # The first epoch has a new best accuracy; with patience 1, every second epoch without one lowers the rate.
    assert rates([0.9] * 8, patience=1) == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0, 0])


def test_a_new_best_resets_the_waiting_time() -> None:
    assert rates([0.5, 0.4, 0.6, 0.5, 0.6, 0.7], patience=2) == pytest.approx([0.1] * 6)
    # An accuracy equal to or below the best is no new best.
    assert rates([0.5, 0.4, 0.5, 0.5], patience=2) == pytest.approx([0.1, 0.1, 0.1, 0.01])


def test_a_stopped_model_does_not_start_again() -> None:
    assert rates([0.5, 0.5, 0.5, 0.5, 0.9, 0.95], patience=0)[3:] == [0, 0, 0]


def test_models_have_independent_schedules() -> None:
    plateau = Plateau.start(2, patience=0)
    for epoch in range(3):
        assert not plateau.finished
        plateau.step(column(0.5, 0.5 + epoch / 10))
    assert plateau.rate.tolist() == pytest.approx([0.001, 0.1])
    plateau.step(column(0.5, 0.9))
    assert plateau.rate.tolist() == pytest.approx([0, 0.1])
    assert not plateau.finished
    for _ in range(3):
        plateau.step(column(0.9, 0.1))
    assert plateau.finished
