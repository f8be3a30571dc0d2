"""The state of a network that a measurement must not change."""

import zlib
from typing import Any

import torch
from torch import Tensor, nn


def mark(model: nn.Module) -> None:
    """Give every other parameter a gradient, so that a change of it shows."""
    for parameter in list(model.parameters())[::2]:
        parameter.grad = torch.full_like(parameter, 0.5)


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Modes, parameters, gradients, buffers, hooks, the modules' attributes, the random state."""
    modules = dict(model.named_modules(remove_duplicate=False))
    return {
        "modes": {name: module.training for name, module in modules.items()},
        "parameters": {name: _parameter(value) for name, value in model.named_parameters(remove_duplicate=False)},
        "buffers": {name: _content(value) for name, value in model.named_buffers(remove_duplicate=False)},
        "hooks": {name: _hooks(module) for name, module in modules.items()},
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "weights of recurrent layers": {
            name: [id(weight) for weight in module._flat_weights if isinstance(weight, nn.Parameter)]
            for name, module in modules.items()
            if isinstance(module, nn.RNNBase)
        },
        "global hooks": {
            name: list(value) for name, value in vars(nn.modules.module).items() if name.endswith("_hooks")
        },
        "random": zlib.crc32(torch.get_rng_state().numpy().tobytes()),
        "gradients on": torch.is_grad_enabled(),
    }


def _parameter(parameter: Tensor) -> tuple[Any, ...]:
    gradient = None if parameter.grad is None else (id(parameter.grad), _content(parameter.grad))
    hooks = [len(getattr(parameter, name) or ()) for name in ("_backward_hooks", "_post_accumulate_grad_hooks")]
    return id(parameter), parameter.requires_grad, parameter._version, _content(parameter), gradient, hooks


def _content(tensor: Tensor) -> int:
    # only the start of large tensors, to save time
    return zlib.crc32(tensor.detach().flatten()[:100_000].contiguous().view(torch.uint8).cpu().numpy().tobytes())


def _hooks(module: nn.Module) -> dict[str, list[Any]]:
    return {name: list(value) for name, value in vars(module).items() if name.endswith("_hooks")}
