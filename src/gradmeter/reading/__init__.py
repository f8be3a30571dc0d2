"""Measure a network on a batch: statistics of the gradient of each prediction, per sample and layer."""
