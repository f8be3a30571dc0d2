"""Synthetic unknowns: images of no class, made from known images and from noise."""

from gradmeter.trust.synthetic import blends, distortions, noises, patches, textures, tones
from gradmeter.trust.synthetic.registry import KINDS, Kind, register_unknown
from gradmeter.trust.synthetic.sample import SAMPLED, ImageSample, per_kind
from gradmeter.trust.synthetic.unknowns import each_kind, synthetic_unknowns

__all__ = [
    "KINDS",
    "SAMPLED",
    "ImageSample",
    "Kind",
    "blends",
    "distortions",
    "each_kind",
    "noises",
    "patches",
    "per_kind",
    "register_unknown",
    "synthetic_unknowns",
    "textures",
    "tones",
]
