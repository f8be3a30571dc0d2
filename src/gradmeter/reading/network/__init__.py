"""The measured network: what it consists of, the state in which it is called, and its answers."""

from gradmeter.reading.network.answers import (
    answer,
    are_probabilities,
    are_sigmoids,
    logits_difference,
    logits_in,
    logits_of,
    not_finite_gradients,
    not_finite_logits,
    require_same_logits,
)
from gradmeter.reading.network.autocast import autocast_of_caller
from gradmeter.reading.network.loss_gradients import loss_gradients
from gradmeter.reading.network.not_finite import NotFinite, not_finite
from gradmeter.reading.network.sound_gradients import laid_out, nodes_below, sound_gradients
from gradmeter.reading.network.state import (
    attention_without_fast_path,
    eval_mode,
    measuring,
    without_cached_biases,
)
from gradmeter.reading.network.structure import (
    FORWARD_ONLY,
    NO_VALUES,
    modules_of,
    named_layers,
    owned_parameters,
    ownership,
    owning_modules,
    parameters_of,
    require_independent_samples,
    require_registered_parameters,
    runs_forward_of,
    uncompiled,
    unwrapped,
)
from gradmeter.reading.network.weights import adapters_in_use, is_spread, weights_hash, wraps_numbers

__all__ = [
    "FORWARD_ONLY",
    "NO_VALUES",
    "NotFinite",
    "adapters_in_use",
    "answer",
    "are_probabilities",
    "are_sigmoids",
    "attention_without_fast_path",
    "autocast_of_caller",
    "eval_mode",
    "is_spread",
    "laid_out",
    "logits_difference",
    "logits_in",
    "logits_of",
    "loss_gradients",
    "measuring",
    "modules_of",
    "named_layers",
    "nodes_below",
    "not_finite",
    "not_finite_gradients",
    "not_finite_logits",
    "owned_parameters",
    "ownership",
    "owning_modules",
    "parameters_of",
    "require_independent_samples",
    "require_registered_parameters",
    "require_same_logits",
    "runs_forward_of",
    "sound_gradients",
    "uncompiled",
    "unwrapped",
    "weights_hash",
    "without_cached_biases",
    "wraps_numbers",
]
