"""The devices on which the main test cases of the engine run."""

import pytest
import torch


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The CPU and, if there is one, the GPU; the oracles run on the CPU."""
    if request.param == "cuda":
        # Convolutions in TF32 would have too few digits for the tolerances of float32.
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return torch.device(request.param)
