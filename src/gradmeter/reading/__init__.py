"""A network and a batch -> readings: the gradient of every prediction, per sample and layer, as statistics."""
