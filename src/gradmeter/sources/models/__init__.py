"""Trained classifiers of timm, torchvision or transformers, or from a function of the user."""

from gradmeter.sources.models.classifier import Classifier
from gradmeter.sources.models.opening import open_model
from gradmeter.sources.models.preprocessing import ImageOptions
from gradmeter.sources.models.recipe import Recipe

__all__ = ["Classifier", "ImageOptions", "Recipe", "open_model"]
