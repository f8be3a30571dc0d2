import pytest
import torch
import torch.nn.functional as F
from torch import nn

from oracles.networks import randomise, samples
from reading.layers.measured import DIGITS, Use, built, check

X, GRID = samples(3, 5), samples(3, 4, 5)
COMPLEX = torch.view_as_complex(samples(3, 4, 5, 2))

DIRECT: dict[str, Use] = {
    "expand": (lambda m, x: m.p.expand(len(x), -1, -1) * x, GRID, {"p": (1, 1, 5)}),
    "expand with a new dimension": (lambda m, x: m.p.expand(len(x), 4, 5) * x, GRID, {"p": (4, 5)}),
    "expand of a number": (lambda m, x: m.p.expand(len(x), 5) * x, X, {"p": ()}),
    "expand, time-major": (lambda m, x: (m.p.expand(4, len(x), 5) * x.transpose(0, 1)).transpose(0, 1), GRID,
                           {"p": (4, 1, 5)}),
    "weights of heads": (lambda m, x: x.unsqueeze(1) @ m.p, GRID, {"p": (2, 5, 3)}),
    "add": (lambda m, x: x + m.p, GRID, {"p": (5,)}),
    "add on the left": (lambda m, x: m.p + x, GRID, {"p": (4, 1)}),
    "add alpha": (lambda m, x: torch.add(x, m.p, alpha=3), GRID, {"p": (4, 5)}),
    "add alpha on the left": (lambda m, x: torch.add(m.p, x, alpha=3), GRID, {"p": (4, 5)}),
    "add in place": (lambda m, x: (x * 1).add_(m.p, alpha=0.5), GRID, {"p": (1, 4, 1)}),
    "add a number": (lambda m, x: x + m.p, GRID, {"p": ()}),
    "add two": (lambda m, x: m.p + (x + m.q), GRID, {"p": (4, 1), "q": (1, 5)}),
    "add that makes the output larger": (lambda m, x: x[:, :, None] + m.p, X, {"p": (5, 7)}),
    "subtract": (lambda m, x: x - m.p, GRID, {"p": (5,)}),
    "subtract from": (lambda m, x: m.p - x, GRID, {"p": (1, 5)}),
    "subtract alpha": (lambda m, x: torch.sub(x, m.p, alpha=3), GRID, {"p": (4, 5)}),
    "subtract alpha from": (lambda m, x: torch.sub(m.p, x, alpha=3), GRID, {"p": (4, 5)}),
    "multiply": (lambda m, x: x * m.p, GRID, {"p": (4, 1)}),
    "multiply on the left": (lambda m, x: m.p * x, GRID, {"p": (5,)}),
    "multiply by a number": (lambda m, x: m.p * x, GRID, {"p": ()}),
    "multiply in place": (lambda m, x: (x * 1).mul_(m.p), GRID, {"p": (5,)}),
    "multiply, time-major": (lambda m, x: (x.transpose(0, 1) * m.p).transpose(0, 1), GRID, {"p": (4, 1, 5)}),
    "multiply, positions folded": (lambda m, x: (x.flatten(0, 1) * m.p).unflatten(0, (-1, 4)), GRID, {"p": (5,)}),
    "multiply, time-major folded": (
        lambda m, x: (x.transpose(0, 1).flatten(0, 1) * m.p).unflatten(0, (4, -1)).transpose(0, 1), GRID, {"p": (5,)}
    ),
    "multiply that makes the output larger": (lambda m, x: x[:, :, None] * m.p, X, {"p": (5, 7)}),
    "multiply by what has one entry": (lambda m, x: x[:, :1] * m.p, X, {"p": (7,)}),
}  # fmt: skip

INDIRECT: dict[str, tuple[Use, str]] = {
    # PReLU expands its slopes to the shape of the input first
    "prelu": ((lambda m, x: F.prelu(x, m.p), X, {"p": (1,)}), "PulledBack"),
    "prelu per channel": ((lambda m, x: F.prelu(x, m.p), GRID, {"p": (4,)}), "PulledBack"),
    "complex": (
        (lambda m, x: torch.view_as_real(x * torch.view_as_complex(m.p)), COMPLEX, {"p": (5, 2)}), "PulledBack"
    ),
    "complex, on the left": (
        (lambda m, x: torch.view_as_real(torch.view_as_complex(m.p) * x), COMPLEX, {"p": (4, 1, 2)}), "PulledBack"
    ),
    "repeated over folded positions": (
        (lambda m, x: (x.flatten(0, 1) * m.p.repeat(len(x), 1)).unflatten(0, (-1, 4)), GRID, {"p": (4, 5)}), "Direct"
    ),
    "repeated over samples and features": (
        (lambda m, x: x * m.p.repeat(len(x), 1, 5), GRID, {"p": (4, 1)}), "Direct"
    ),
    "repeated over folded steps": (
        (lambda m, x: (x.transpose(0, 1).flatten(0, 1) * m.p.repeat(4 * len(x), 1)).unflatten(0, (4, -1))
         .transpose(0, 1), GRID, {"p": (1, 5)}), "Direct"
    ),
    "where": ((lambda m, x: torch.where(x > 0, x, m.p), GRID, {"p": (5,)}), "Masked"),
    "divide": ((lambda m, x: x / (m.p * m.p + 1), GRID, {"p": (5,)}), "PulledBack"),
}  # fmt: skip


@pytest.mark.parametrize("use", DIRECT)
def test_uses_with_a_rule(use: str, device: torch.device) -> None:
    forms = check(*built(DIRECT[use]), device=device)
    assert forms == {name: ["Direct"] for name in DIRECT[use][2]}


def test_a_parameter_along_the_only_sample() -> None:
    """With one sample its positions must not be mistaken for samples."""
    use: Use = (lambda m, x: (x.flatten(0, 1) + m.p).unflatten(0, (-1, 4)), GRID[:1], {"p": (4, 5)})
    assert check(*built(use)) == {"p": ["Masked"]}


@pytest.mark.parametrize("use", INDIRECT)
def test_other_uses(use: str) -> None:
    given, form = INDIRECT[use]
    assert check(*built(given)) == {"p": [form]}


def test_a_real_parameter_times_complex_data() -> None:
    use: Use = (lambda m, x: torch.view_as_real(x * m.p), COMPLEX, {"p": (5,)})
    check(*built(use))


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize("slopes", [1, 4])
def test_prelu_module(slopes: int, dtype: torch.dtype) -> None:
    check(randomise(nn.PReLU(slopes).to(dtype)), samples(3, 4, 5, 6).to(dtype), **DIGITS[dtype])
