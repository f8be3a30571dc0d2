"""Maps of the pixels of images in a folder."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradmeter import DataError, InputError, OutputError, PixelMeter, UnsupportedModelError
from gradmeter.apps.workflows.heatmap import MANIFEST, Drawn, Maps, heatmaps
from gradmeter.runs.measuring import Skipped
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.segmenters import Normalised
from gradmeter.sources.samples import ImageKind, open_source
from oracles.networks import randomise


def segmenter(seed: int = 0) -> Classifier:
    network = randomise(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 5, padding=1)), seed)
    batch = Normalised(None, (0.0,) * 3, (1.0,) * 3)
    return Classifier("mine:make", network.eval(), None, ImageKind("RGB", 8), batch)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images of different sizes, one in a format of its own, one too small for the network and a damaged one."""
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, shape in (("a.png", (9, 12, 3)), ("a.jpg", (14, 8, 3)), ("small.png", (2, 2, 3))):
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes(b"no image")
    return folder


DEFAULT = Maps()


def draw(images: Path, out: Path, maps: Maps = DEFAULT, seed: int = 0, *, fresh: bool = False) -> Drawn:
    return heatmaps(segmenter(seed), open_source(str(images), ImageKind("RGB", 8)), out, maps, fresh=fresh)


def test_every_image_has_a_map_and_its_numbers(images: Path, tmp_path: Path) -> None:
    steps: list[int] = []
    shown: list[Skipped] = []
    source = open_source(str(images), ImageKind("RGB", 8))
    out = tmp_path / "maps"
    drawn = heatmaps(
        segmenter(), source, out, Maps(("2", "0"), "std", npz=True), on_progress=steps.append, on_skip=shown.append
    )
    assert drawn == Drawn(2, tuple(shown))
    assert [skipped.id for skipped in shown] == ["broken.png", "small.png"]
    assert all("\n" not in skipped.reason for skipped in shown)
    assert sum(steps) == len(source) == 4
    assert sorted(path.name for path in out.iterdir()) == [
        MANIFEST,
        *("a.jpg.npz", "a.jpg.png", "a.png.npz", "a.png.png"),
    ]
    with np.load(out / "a.png.npz") as numbers:
        image = torch.from_numpy(np.array(Image.open(images / "a.png"))).permute(2, 0, 1).unsqueeze(0) / 255
        readings = PixelMeter(segmenter().network, ["2", "0"], size="input")(image)
        assert numbers["prediction"].shape == (1, 9, 12)
        np.testing.assert_allclose(numbers["0/std"], readings["0", "std"].numpy(), rtol=1e-6)
    with Image.open(out / "a.png.png") as picture:
        assert picture.width > 3 * picture.height / 2


def test_maps_of_images_that_are_gone_or_skipped_are_counted(images: Path, tmp_path: Path) -> None:
    """They stay, because they may be those of other images that were drawn into the same folder."""
    out = tmp_path / "maps"
    assert draw(images, out).others == 0
    (images / "a.png").rename(images / "b.png")
    Image.new("RGB", (8, 8)).save(out / "mine.png")  # no map
    drawn = draw(images, out)
    assert (drawn.maps, drawn.others) == (2, 1)
    (images / "b.png").write_bytes(b"no image")
    drawn = draw(images, out)
    assert (drawn.maps, drawn.others) == (1, 2)
    assert sorted(path.name for path in out.glob("*.png")) == ["a.jpg.png", "a.png.png", "b.png.png", "mine.png"]


def test_images_with_long_names(images: Path, tmp_path: Path) -> None:
    """One whose map has the longest name that a file system allows, and one whose map would have a longer one."""
    for name in ("n" * 247, "m" * 248):
        shutil.copy(images / "a.png", images / f"{name}.png")
    drawn = draw(images, tmp_path / "maps", Maps(npz=True))
    assert drawn.maps == 3
    assert [skipped.id[0] for skipped in drawn.skipped] == ["b", "m", "s"]
    assert (tmp_path / "maps" / f"{'n' * 247}.png.npz").is_file()


def test_numbers_that_cannot_be_written_leave_no_earlier_map(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    draw(images, out, Maps(npz=True))
    (out / "a.png.npz").unlink()
    (out / "a.png.npz").mkdir()
    with pytest.raises(OutputError, match=r"a\.png\.npz"):
        draw(images, out, Maps(npz=True))
    assert not (out / "a.png.png").exists()


def test_a_second_run_draws_only_what_is_missing(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    draw(images, out)
    (out / "a.jpg.png").unlink()
    before = (out / "a.png.png").stat().st_mtime_ns
    assert draw(images, out).maps == 2
    assert (out / "a.jpg.png").is_file()
    assert (out / "a.png.png").stat().st_mtime_ns == before
    draw(images, out, fresh=True)
    assert (out / "a.png.png").stat().st_mtime_ns != before


@pytest.mark.parametrize("change", ["another image", "a damaged map"])
def test_an_image_that_is_not_that_of_its_map_is_drawn_again(change: str, images: Path, tmp_path: Path) -> None:
    out, expected = tmp_path / "maps", tmp_path / "expected"
    draw(images, out, Maps(npz=True))
    kept = (out / "a.jpg.png").stat().st_mtime_ns
    if change == "another image":
        Image.new("RGB", (12, 9), (200, 30, 90)).save(images / "a.png")
    else:
        (out / "a.png.png").write_bytes(b"no image")
    draw(images, out, Maps(npz=True))
    draw(images, expected, Maps(npz=True))
    for name in ("a.png.png", "a.png.npz", "a.jpg.png"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()
    assert (out / "a.jpg.png").stat().st_mtime_ns == kept


def test_maps_of_other_settings_are_not_mixed(images: Path, tmp_path: Path) -> None:
    draw(images, tmp_path / "maps")
    with pytest.raises(OutputError, match="statistic"):
        draw(images, tmp_path / "maps", Maps(statistic="l1"))
    with pytest.raises(OutputError, match="weights"):
        draw(images, tmp_path / "maps", seed=1)
    draw(images, tmp_path / "maps", Maps(statistic="l1"), fresh=True)


def test_maps_of_another_forward_pass_are_not_mixed(images: Path, tmp_path: Path) -> None:
    """The code of a network may change while its weights stay."""
    draw(images, tmp_path / "maps")
    network = segmenter()
    network.network[1] = nn.Tanh()
    source = open_source(str(images), ImageKind("RGB", 8))
    with pytest.raises(OutputError, match="other outputs on the same noise"):
        heatmaps(network, source, tmp_path / "maps", DEFAULT)
    assert heatmaps(network, source, tmp_path / "maps", DEFAULT, fresh=True).maps == 2


def test_maps_without_the_outputs_of_the_network(images: Path, tmp_path: Path) -> None:
    """Earlier versions wrote none."""
    draw(images, tmp_path / "maps")
    manifest = tmp_path / "maps" / MANIFEST
    settings = json.loads(manifest.read_text())
    del settings["outputs"]
    manifest.write_text(json.dumps(settings))
    assert draw(images, tmp_path / "maps").maps == 2


def test_a_killed_fresh_run_leaves_no_maps_of_other_settings(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    draw(images, out, Maps(npz=True))

    def killed(steps: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        heatmaps(
            segmenter(1), open_source(str(images), ImageKind("RGB", 8)), out, DEFAULT, fresh=True, on_progress=killed
        )
    assert sorted(path.name for path in out.iterdir()) == [MANIFEST, "a.jpg.png"]
    assert draw(images, out, seed=1).maps == 2


def test_a_layer_that_is_too_far_from_the_logits(images: Path, tmp_path: Path) -> None:
    deep = segmenter()
    deep.network.insert(0, nn.Conv2d(3, 3, 1))
    with pytest.raises(UnsupportedModelError, match="too far"):
        heatmaps(deep, open_source(str(images), ImageKind("RGB", 8)), tmp_path / "maps", Maps(("0",)))
    assert not (tmp_path / "maps").exists()
    draw(images, tmp_path / "maps")


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_other_files_stays_as_it_is(images: Path, tmp_path: Path, fresh: bool) -> None:
    """A file of another program may have the name of a map; it is neither taken for one nor replaced."""
    out = tmp_path / "maps"
    out.mkdir()
    (out / "a.png.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="not written by gradmeter heatmap"):
        draw(images, out, fresh=fresh)
    assert [path.name for path in out.iterdir()] == ["a.png.png"]
    with pytest.raises(OutputError, match="is a file"):
        draw(images, out / "a.png.png", fresh=fresh)


def test_settings_without_a_map_do_not_stand_in_the_way(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    draw(images, out)
    for path in out.glob("a.*"):
        path.unlink()
    left = out / ".a.png.png.1-0123abcd.partial"
    left.write_bytes(b"of a killed process")
    assert draw(images, out, seed=1).maps == 2
    assert not left.exists()


def test_no_image_has_a_map(images: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        (images / name).unlink()
    with pytest.raises(DataError, match="2 images"):
        draw(images, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), r"mine:make: .*returned \(1, 4\)"),
        (nn.Conv2d(1, 4, 3), r"mine:make: .*give --grey"),
    ],
)
def test_a_network_that_fails_on_all_images(network: nn.Module, words: str, images: Path, tmp_path: Path) -> None:
    given = replace(segmenter(), network=network.eval())
    skipped: list[Skipped] = []
    with pytest.raises(InputError, match=words):
        heatmaps(given, open_source(str(images), ImageKind("RGB", 8)), tmp_path / "m", Maps(), on_skip=skipped.append)
    assert not skipped
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "maps", [{"statistic": "median"}, {"limits": (2.0, 1.0)}, {"limits": (0.0, 1.0)}, {"limits": (1.0, math.inf)}]
)
def test_invalid_settings(maps: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Maps(**maps)  # type: ignore[arg-type]


def test_an_unknown_layer(images: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nonsense"):
        draw(images, tmp_path / "maps", Maps(("nonsense",)))
    assert not (tmp_path / "maps").exists()
