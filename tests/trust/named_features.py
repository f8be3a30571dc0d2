"""Parse the names of features."""

from gradmeter.trust.features import (
    ACTIVATIONS,
    EMBEDDING,
    GRADIENTS,
    LOGITS,
    OUTPUTS,
    SCORES,
    Feature,
    FeatureAxes,
)


def feature(name: str) -> Feature:
    """Return the feature with a name."""
    sources = {"logit": LOGITS, "embedding": EMBEDDING, "score": SCORES}
    prefix, colon, rest = name.partition(":")
    if prefix in sources:
        return Feature(sources[prefix], rest)
    path, slash, statistic = name.rpartition("/")
    if not slash:
        return Feature(OUTPUTS, name)
    prefix, colon, layer = path.partition(":")
    if prefix == "activation":
        return Feature(ACTIVATIONS, statistic, layer)
    return Feature(GRADIENTS, statistic, layer, prefix) if colon else Feature(GRADIENTS, statistic, path)


def axes(*names: str) -> FeatureAxes:
    return FeatureAxes(tuple(map(feature, names)))
