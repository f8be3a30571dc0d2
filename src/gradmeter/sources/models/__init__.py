"""Trained classifiers by name: timm, torchvision, transformers, or a function of the user's own."""

from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.opening import open_model
from gradmeter.sources.models.preprocessing import ImageOptions
from gradmeter.sources.models.recipe import Recipe

__all__ = ["Classifier", "ImageOptions", "Recipe", "open_model"]
