"""Trained classifiers by name: timm, torchvision, transformers, or a function of the user's own."""

from gradmeter.models.classifier import Classifier
from gradmeter.models.opening import open_model
from gradmeter.models.preprocessing import ImageOptions
from gradmeter.models.recipe import Recipe

__all__ = ["Classifier", "ImageOptions", "Recipe", "open_model"]
