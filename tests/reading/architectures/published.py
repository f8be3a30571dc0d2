"""Networks of torchvision, timm and transformers, with fewer and narrower layers where they are configurable."""

from typing import Any

import timm
import torch
import torchvision.models as vision
from timm.layers.std_conv import StdConv2d
from timm.models.mlp_mixer import MlpMixer
from torch import nn
from torchvision.models.convnext import CNBlockConfig
from transformers import BertConfig, BertForSequenceClassification, ViTConfig, ViTForImageClassification

from oracles.networks import CLASSES, samples
from reading.architectures.case import Case, body, present, tokens

IMAGES = samples(2, 3, 32, 32)
TEXT = tokens(3, 6, 20)


def _timm(name: str) -> Case:
    small: dict[str, Any] = {"img_size": 32, "embed_dim": 8, "depth": 2, "num_heads": 2}
    return Case(lambda: timm.create_model(name, num_classes=CLASSES, **small), IMAGES)


# of a BERT and a ViT
SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_labels": CLASSES,
}


def _bert() -> nn.Module:
    return BertForSequenceClassification(BertConfig(vocab_size=20, max_position_embeddings=10, **SMALL))


def _vit() -> nn.Module:
    return ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, **SMALL))


CASES = {
    "torchvision resnet18": Case(lambda: vision.resnet18(num_classes=CLASSES), IMAGES),
    "torchvision resnet50": Case(lambda: vision.resnet50(num_classes=CLASSES, width_per_group=8), IMAGES),
    "torchvision densenet121": Case(
        lambda: vision.DenseNet(4, (6, 12, 24, 16), 8, num_classes=CLASSES),
        IMAGES,
    ),
    "torchvision googlenet": Case(lambda: vision.googlenet(num_classes=CLASSES, init_weights=False), IMAGES),
    "torchvision mobilenet_v3_small": Case(
        lambda: vision.mobilenet_v3_small(num_classes=CLASSES, width_mult=0.25), IMAGES
    ),
    "torchvision efficientnet_b0": Case(lambda: vision.efficientnet_b0(num_classes=CLASSES), IMAGES),
    "torchvision convnext_tiny": Case(
        lambda: vision.ConvNeXt([CNBlockConfig(8, 16, 3), CNBlockConfig(16, None, 3)], num_classes=CLASSES), IMAGES
    ),
    "torchvision regnet_y_400mf": Case(lambda: vision.regnet_y_400mf(num_classes=CLASSES), IMAGES),
    "torchvision squeezenet1_1": Case(lambda: vision.squeezenet1_1(num_classes=CLASSES), IMAGES),
    "torchvision shufflenet_v2_x0_5": Case(lambda: vision.shufflenet_v2_x0_5(num_classes=CLASSES), IMAGES),
    "torchvision swin_t": Case(
        lambda: vision.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [3, 3], num_classes=CLASSES), IMAGES
    ),
    "torchvision vit_b_16": Case(lambda: vision.VisionTransformer(32, 16, 2, 2, 8, 12, num_classes=CLASSES), IMAGES),
    "timm vit_tiny_patch16_224": _timm("vit_tiny_patch16_224"),
    "timm deit_tiny_distilled_patch16_224": _timm("deit_tiny_distilled_patch16_224"),
    "timm deit3_small_patch16_224": _timm("deit3_small_patch16_224"),
    "timm beit_base_patch16_224": _timm("beit_base_patch16_224"),
    "timm cait_xxs24_224": _timm("cait_xxs24_224"),
    "timm mixer": Case(lambda: MlpMixer(CLASSES, 32, patch_size=16, num_blocks=2, embed_dim=8), IMAGES),
    "timm weight-standardised convolution": body((3, 6, 6), lambda: StdConv2d(3, 4, 3, bias=True), nn.ReLU),
    "transformers bert": Case(_bert, {"input_ids": TEXT, "attention_mask": present(TEXT).long()}),
    "transformers bert with segments": Case(
        _bert, {"input_ids": TEXT, "token_type_ids": (torch.arange(6) > 2).long().expand(3, 6)}
    ),
    "transformers vit": Case(_vit, {"pixel_values": samples(2, 3, 8, 8)}),
}
