import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from gradmeter.errors import OutputError
from gradmeter.report.figures import bars, gallery, save, violins


def panels():
    random = np.random.default_rng(0)
    return {"Entropy": {key: random.random(500) for key in ("correct", "wrong")}}


def test_both_files_are_readable_and_hold_text(tmp_path):
    save(violins(panels()), tmp_path / "figures" / "violins")
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["violins.png", "violins.svg"]
    root = ElementTree.parse(tmp_path / "figures" / "violins.svg").getroot()
    assert "Entropy" in [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    with Image.open(tmp_path / "figures" / "violins.png") as picture:
        assert 150 <= picture.info["dpi"][0] <= 200


def test_paths_are_drawn_to_a_hundredth_of_a_point(tmp_path):
    save(violins(panels()), tmp_path / "violins")
    root = ElementTree.parse(tmp_path / "violins.svg").getroot()
    numbers = [
        number
        for path in root.iter("{http://www.w3.org/2000/svg}path")
        for number in path.get("d").split()
        if "." in number
    ]
    assert len(numbers) > 500
    assert all(len(number.partition(".")[2]) <= 2 for number in numbers)


def test_bytes_do_not_depend_on_the_time_or_on_the_users_settings(tmp_path):
    images = {"digits": np.random.default_rng(0).random((3, 28, 28))}
    save(violins(panels()), tmp_path / "first")
    save(gallery(images), tmp_path / "gallery_first")
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "other", "svg.fonttype": "path"}):
        save(violins(panels()), tmp_path / "second")
        save(gallery(images), tmp_path / "gallery_second")
    for name in ("{}.svg", "{}.png", "gallery_{}.svg", "gallery_{}.png"):
        first, second = (tmp_path / name.format(turn) for turn in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_a_failed_save_leaves_the_old_file_and_no_scraps(tmp_path, monkeypatch):
    figure = violins(panels())
    save(figure, tmp_path / "figure")
    before = (tmp_path / "figure.svg").read_bytes()

    def fail(path, **_):
        path.write_text("half")
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RuntimeError):
        save(figure, tmp_path / "figure")
    assert (tmp_path / "figure.svg").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "figure.svg"]


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"figure\.svg"):
        save(violins(panels()), tmp_path / "file" / "figure")


def test_names_in_any_script(tmp_path):
    save(bars({"猫 кот": (1.0, 0.1)}, "loss"), tmp_path / "named")
    assert "猫" in (tmp_path / "named.svg").read_text(encoding="utf-8")
