"""Gradient statistics and P(correct) of an evaluation set in the logs of the trainer of transformers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from gradmeter.errors import UnsupportedModelError
from gradmeter.trust.adapters.training_log import (
    require_loader,
    require_measurable,
    require_metrics,
    validation_numbers,
)

try:
    from accelerate.utils import send_to_device
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"gradmeter.trust.adapters.transformers needs the package {error.name}, which is not installed; run "
        'pip install "gradmeter[transformers]"',
        name=error.name,
    ) from error


class GradmeterCallback(TrainerCallback):
    """Callback that logs gradient statistics of each layer, and P(correct), after each evaluation.

    It logs the numbers of `gradmeter.trust.adapters.training_log.validation_numbers` as "eval_gradmeter/NAME", in the
    main process only. Training goes on exactly as without it: the weights, their gradients, the optimiser, the training
    mode and the random generators of PyTorch, NumPy and Python are left as they were.

    Args:
        trainer: the trainer, whose `log` passes the numbers on to TensorBoard and others.
        loader: batches as the network takes them, with "labels", that it is not trained on; all of them are read each
            time, so a few hundred to a few thousand samples are enough. Not a loader that accelerate prepared.
        metrics: names of the gradient statistics to log of each layer.

    Raises:
        InputError: if a statistic is unknown, or the loader cannot be iterated several times.
        UnsupportedModelError: if the trainer spreads the weights over processes.

    Example:
        >>> trainer.add_callback(GradmeterCallback(trainer, loader))
        >>> trainer.train()
    """

    def __init__(self, trainer: Trainer, loader: Iterable[Any], metrics: Sequence[str] = ("l2",)) -> None:
        self.trainer, self.loader, self.metrics = trainer, require_loader(loader), require_metrics(metrics)
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise UnsupportedModelError(
                "the trainer uses FSDP or DeepSpeed, which spread the weights over processes; expected the whole "
                "network in each: remove the callback, or train without them"
            )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure the first batch, because an error would otherwise end training after the first evaluation.

        Raises:
            Those of `validation_numbers`.
        """
        if state.is_world_process_zero:
            require_measurable(kwargs["model"], self.loader, partial(send_to_device, device=args.device))

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure and log.

        Raises:
            Those of `validation_numbers`.
        """
        if not state.is_world_process_zero:
            return
        move = partial(send_to_device, device=args.device)
        numbers = validation_numbers(kwargs["model"], self.loader, self.metrics, move)
        if numbers:
            self.trainer.log({f"eval_gradmeter/{name}": number for name, number in numbers.items()})
