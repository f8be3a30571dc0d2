"""Gradient statistics and P(correct) of a validation set in the logs of Lightning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from torch import nn

from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.trust.adapters.training_log import (
    require_loader,
    require_measurable,
    require_metrics,
    validation_numbers,
)

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
    from lightning.pytorch.utilities import move_data_to_device
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"gradmeter.trust.adapters.lightning needs the package {error.name}, which is not installed; run "
        'pip install "gradmeter[lightning]"',
        name=error.name,
    ) from error

# Name of Lightning's callback that validates averaged weights; before Lightning 2.6 there is none.
_AVERAGING = "WeightAveraging"


class GradmeterCallback(Callback):
    """Callback that logs gradient statistics of each layer, and P(correct), after each validation.

    It logs the numbers of `gradmeter.trust.adapters.training_log.validation_numbers` as "PREFIX/NAME", on rank zero
    only. Training goes on exactly as without it: the weights, their gradients, the optimisers, the training mode and
    the random generators of PyTorch, NumPy and Python are left as they were.

    Args:
        loader: batches (inputs, labels), or dicts with "labels", that the network is not trained on; all of them are
            read each time, so a few hundred to a few thousand samples are enough. Lightning does not know this loader
            and puts no distributed sampler into it.
        network: name of the submodule that maps the inputs to logits [N, C]; by default the LightningModule itself.
        metrics: names of the gradient statistics to log of each layer.
        prefix: begins the names of what is logged; two callbacks of a trainer need two.

    Raises:
        InputError: if a statistic is unknown, or the loader cannot be iterated several times.

    Example:
        >>> Trainer(callbacks=[GradmeterCallback(loader)]).fit(module, train_loader, validation_loader)
    """

    def __init__(
        self,
        loader: Iterable[Any],
        network: str = "",
        metrics: Sequence[str] = ("l2",),
        prefix: str = "gradmeter",
    ) -> None:
        self.loader, self.network, self.metrics = require_loader(loader), network, require_metrics(metrics)
        self.prefix = prefix

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that each rank holds the whole network, and that the weights of the validation are measured.

        Raises:
            UnsupportedModelError: if the weights are spread over ranks.
            InputError: if a callback puts other weights back before this one measures, or another one has its prefix.
        """
        if isinstance(trainer.strategy, (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)):
            raise UnsupportedModelError(
                f"{type(trainer.strategy).__name__} spreads the weights over ranks; expected a strategy that keeps the "
                "whole network on each, such as DDP: remove the callback, or change the strategy"
            )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, GradmeterCallback) and callback is not self and callback.prefix == self.prefix:
                raise InputError(
                    f"two callbacks log their numbers as '{self.prefix}/NAME'; expected another prefix for one, "
                    "as in GradmeterCallback(loader, prefix='other'): Lightning would log the mean of both"
                )
        for callback in takewhile(lambda other: other is not self, trainer.callbacks):  # type: ignore[attr-defined]
            if any(kind.__name__ == _AVERAGING for kind in type(callback).__mro__):
                name = type(callback).__name__
                raise InputError(
                    f"{name} precedes GradmeterCallback in the trainer's callbacks, and puts the weights of training "
                    f"back before they are measured; expected GradmeterCallback before {name}, to measure the averaged "
                    "weights, which are validated"
                )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there is a network: otherwise training would fail after the first epoch.

        Raises:
            InputError: if the LightningModule has no submodule `network`, or is the network and has no `forward`.
        """
        self._network(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the first batch, because an error would otherwise end training after the first epoch.

        Raises:
            Those of `validation_numbers`.
        """
        if trainer.is_global_zero:
            require_measurable(self._network(pl_module), self.loader, partial(_moved, trainer, pl_module))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log.

        Raises:
            Those of `on_fit_start` and `validation_numbers`.
        """
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        move = partial(_moved, trainer, pl_module)
        numbers = validation_numbers(self._network(pl_module), self.loader, self.metrics, move)
        pl_module.log_dict({f"{self.prefix}/{name}": number for name, number in numbers.items()}, rank_zero_only=True)

    def _network(self, module: LightningModule) -> nn.Module:
        if not self.network and type(module).forward is LightningModule.forward:
            example = next((name for name, _ in module.named_children()), "net")
            raise InputError(
                f"{type(module).__name__} has no forward method; expected the name of the submodule that maps inputs "
                f"to logits, as in GradmeterCallback(loader, network={example!r})"
            )
        try:
            return module.get_submodule(self.network)
        except AttributeError as error:
            names = ", ".join(name for name, _ in module.named_children()) or "no submodules"
            raise InputError(
                f"network={self.network!r}, but {type(module).__name__} has {names}; expected one of its submodules"
            ) from error


def _moved(trainer: Trainer, module: LightningModule, batch: Any) -> Any:
    """Return a batch on the device of the module, in the trainer's precision."""
    # As Lightning does: with precision="64-true" or "bf16-true" the network does not take float32.
    return move_data_to_device(trainer.precision_plugin.convert_input(batch), module.device)
