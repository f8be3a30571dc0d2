import pytest
import torch

from gradmeter.errors import InputError
from gradmeter.reading.inputs import Inputs


def test_inputs_made_before() -> None:
    """They are detached and checked, like any others."""
    images, masks = torch.rand(3, 2, requires_grad=True), torch.ones(3)
    inputs = Inputs.of(Inputs((images, None), {"mask": masks}, torch.tensor([0, 1, 2], dtype=torch.int32)))
    assert torch.equal(inputs.args[0], images)
    assert not inputs.args[0].requires_grad
    assert inputs.args[1] is None
    assert torch.equal(inputs.kwargs["mask"], masks)
    assert inputs.labels is not None
    assert inputs.labels.dtype == torch.int64
    assert torch.equal(Inputs.of(inputs, torch.tensor([2, 1, 0])).labels, torch.tensor([2, 1, 0]))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(3, 2\), \(2,\)"):
        Inputs.of(Inputs((images,), {"mask": masks[:2]}))
    with pytest.raises(InputError, match=r"torch.float32.*\(3,\)"):
        Inputs.of(Inputs((images,), {}, torch.zeros(3)))
    with pytest.raises(InputError, match=r"torch.bool; expected an integer tensor"):  # whether predictions are right
        Inputs.of(images, torch.tensor([True, False, True]))
