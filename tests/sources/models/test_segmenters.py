"""Segmentation networks by name."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import segmentation
from transformers import BertConfig, SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

from gradmeter import InputError, PixelMeter
from gradmeter.sources.models import ImageOptions
from gradmeter.sources.models.segmenters import Normalised, open_segmenter

IMAGE = Image.new("RGB", (48, 32), (255, 128, 0))


@pytest.mark.parametrize("auxiliary", [False, True])
def test_torchvision_with_weights(tmp_path: Path, auxiliary: bool) -> None:
    network = segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, aux_loss=auxiliary
    )
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    opened = open_segmenter(
        "torchvision:deeplabv3_mobilenet_v3_large", tmp_path / "w.safetensors", ImageOptions(size=64)
    )
    batch = opened.batch([IMAGE])
    assert batch.shape == (1, 3, 64, 96)
    assert batch[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225], abs=1e-5
    )
    readings = PixelMeter(opened.network, size="input")(batch)
    assert readings.layers == ("classifier.4",)
    assert readings.logits.shape == (1, 4, 64, 96)


def test_transformers_from_a_folder(tmp_path: Path) -> None:
    config = SegformerConfig(
        num_encoder_blocks=1,
        depths=[1],
        sr_ratios=[1],
        hidden_sizes=[8],
        patch_sizes=[3],
        strides=[2],
        num_attention_heads=[1],
        mlp_ratios=[2],
        decoder_hidden_size=8,
        num_labels=3,
    )
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    SegformerImageProcessor(size={"height": 32, "width": 40}).save_pretrained(tmp_path)
    opened = open_segmenter(f"hf:{tmp_path}")
    readings = PixelMeter(opened.network, size="input")(opened.batch([IMAGE]))
    assert readings.logits.shape == (1, 3, 32, 40)
    with pytest.raises(InputError, match="preprocessor_config"):
        open_segmenter(f"hf:{tmp_path}", None, ImageOptions(size=3))
    assert json.loads((tmp_path / "config.json").read_text())["architectures"]
    config.num_labels = 4
    network = SegformerForSemanticSegmentation(config).eval()
    network.save_pretrained(tmp_path / "own")
    again = open_segmenter(f"hf:{tmp_path}", tmp_path / "own/model.safetensors")
    assert torch.equal(again.network(**again.batch([IMAGE])).logits, network(**again.batch([IMAGE])).logits)
    network.bfloat16().save_pretrained(tmp_path)
    half = open_segmenter(f"hf:{tmp_path}")
    assert half.network(**half.batch([IMAGE])).logits.isfinite().all()


def test_a_network_of_transformers_for_another_task(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="of the kind bert; expected a segmentation network"):
        open_segmenter(f"hf:{tmp_path}")


def test_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "segmenting.py").write_text("from torch import nn\n\ndef make():\n    return nn.Conv2d(1, 2, 3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    opened = open_segmenter("segmenting:make", None, ImageOptions(grey=True, mean=(0.5,)))
    batch = opened.batch([Image.new("L", (5, 4), 255)])
    assert torch.equal(batch, torch.full((1, 1, 4, 5), 0.5))
    assert not opened.network.training


def test_the_shorter_side_is_resized() -> None:
    assert Normalised(16, (0.0,) * 3, (1.0,) * 3)([IMAGE]).shape == (1, 3, 16, 24)
    assert Normalised(None, (0.0,) * 3, (1.0,) * 3)([IMAGE]).shape == (1, 3, 32, 48)


@pytest.mark.parametrize("model", ["torchvision:resnet18", "timm:resnet18", "torchvision:", "nonsense", ":make"])
def test_other_names_are_refused(model: str) -> None:
    with pytest.raises(InputError, match="segmentation network"):
        open_segmenter(model)


def test_grey_images_are_refused_where_networks_take_colour() -> None:
    with pytest.raises(InputError, match="--grey"):
        open_segmenter("torchvision:fcn_resnet50", None, ImageOptions(grey=True))
