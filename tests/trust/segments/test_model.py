"""SegmentTrust: fitted, judged, guaranteed, saved and loaded."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline

from gradmeter import DataError, GradmeterError, InputError, OutputError
from gradmeter.trust import main_file
from gradmeter.trust.main_file import write_main
from gradmeter.trust.risk import RiskNotControlled
from gradmeter.trust.segments import SegmentFeatures, SegmentTrust
from gradmeter.trust.segments import saving as segment_saving
from trust.segments.loops import drawn


@pytest.fixture(scope="module")
def trust() -> SegmentTrust:
    fitted = SegmentTrust().fit(drawn(60, 10))
    fitted.set_risk(0.2, drawn(120, 10, seed=1))
    return fitted


def again(trust: SegmentTrust, folder: Path) -> SegmentTrust:
    trust.save(folder)
    return SegmentTrust.load(folder)


def assert_same(one: SegmentTrust, other: SegmentTrust, features: SegmentFeatures) -> None:
    left, right = one.predict(features), other.predict(features)
    np.testing.assert_array_equal(left.p_hit, right.p_hit)
    np.testing.assert_array_equal(left.iou, right.iou)
    np.testing.assert_array_equal(left.accepted, right.accepted)


def test_it_finds_wrong_segments_and_their_iou(trust: SegmentTrust) -> None:
    new = drawn(60, 10, seed=2)
    assert new.adjusted_iou is not None
    assert new.wrong is not None
    verdicts = trust.predict(new)
    assert roc_auc_score(~new.wrong, verdicts.p_hit) > 0.9
    assert r2_score(new.adjusted_iou, verdicts.iou) > 0.5
    assert verdicts.accepted is not None
    assert new.wrong[verdicts.accepted].mean() < 0.2 < new.wrong.mean()


def test_forward_leaves_gradients_out(trust: SegmentTrust) -> None:
    new = drawn(60, 10, seed=2)
    assert new.wrong is not None
    forward = SegmentTrust("forward").fit(drawn(60, 10))
    verdicts = forward.predict(new)
    np.testing.assert_array_equal(verdicts.p_hit, forward.predict(new.without_gradients()).p_hit)
    assert verdicts.accepted is None
    # Here the gradients know more.
    assert roc_auc_score(~new.wrong, verdicts.p_hit) < roc_auc_score(~new.wrong, trust.predict(new).p_hit) - 0.05
    with pytest.raises(InputError, match="gradients/l2/head/mean_all"):
        trust.predict(new.without_gradients())


def test_fit_takes_batches(trust: SegmentTrust) -> None:
    whole = drawn(60, 10)
    halves = (whole.of_images(np.arange(60) // 30 == half) for half in range(2))
    assert_same(SegmentTrust().fit(halves), SegmentTrust().fit(whole), drawn(5, 5, seed=3))


@pytest.mark.slow
def test_a_risk_sets_images_aside() -> None:
    trust = SegmentTrust(risk=0.25, confidence=0.9).fit(drawn(150, 10))
    assert trust.fitted is not None
    assert trust.guarantee is not None
    assert len(np.unique(trust.fitted.image)) == 100
    assert trust.guarantee.images <= 50
    assert (trust.guarantee.risk, trust.guarantee.confidence) == (0.25, 0.9)
    with pytest.raises(RiskNotControlled):
        SegmentTrust(risk=0.01).fit(drawn(150, 10))


def test_a_failed_fit_leaves_no_model_without_its_guarantee() -> None:
    trust = SegmentTrust(risk=0.01)
    with pytest.raises(RiskNotControlled):
        trust.fit(drawn(60, 10))
    with pytest.raises(GradmeterError, match="not fitted"):
        trust.predict(drawn(1, 1))


def test_images_that_fit_has_seen_are_refused(trust: SegmentTrust) -> None:
    mixed = SegmentFeatures.concatenate([drawn(120, 10, seed=1), drawn(60, 10)])
    with pytest.raises(InputError, match="60 of these 180 images"):
        trust.set_risk(0.2, mixed)


def test_images_that_fit_has_seen_are_refused_whatever_the_rounding_errors(trust: SegmentTrust) -> None:
    seen = drawn(60, 10)
    noise = 1 + 1e-7 * np.random.default_rng(0).normal(size=seen.values.shape)
    with pytest.raises(InputError, match="of these 60 images"):
        trust.set_risk(0.2, replace(seen, values=seen.values * noise))


def test_images_without_segments_are_refused(trust: SegmentTrust) -> None:
    empty = drawn(2, 10).rows(np.zeros(20, np.bool_))
    with pytest.raises(InputError, match="no segment of these 2 images has ground truth"):
        trust.set_risk(0.2, empty)


def test_copies_of_an_image_count_once(trust: SegmentTrust) -> None:
    data = drawn(120, 10, seed=1)
    before = trust.guarantee
    assert before is not None
    copies = trust.set_risk(0.2, [data, data, data])
    assert (copies.threshold, copies.wrong_share, copies.coverage) == pytest.approx(
        (before.threshold, before.wrong_share, before.coverage)
    )
    assert (copies.images, copies.accepted, copies.wrong) == (3 * before.images, 3 * before.accepted, 3 * before.wrong)


def recurring(trust: SegmentTrust, data: SegmentFeatures, copies: int) -> list[SegmentFeatures]:
    """Copies of the image with the highest P(hit), of which every second one is wrong."""
    p_hit = trust.predict(data).p_hit
    best = data.of_images(np.arange(data.images) == data.image[p_hit.argmax()])
    best = best.rows(np.arange(len(best)) == trust.predict(best).p_hit.argmax())
    return [replace(best, adjusted_iou=np.full(1, float(number % 2))) for number in range(copies)]


def test_images_that_recur_and_are_wrong_count_each_time(trust: SegmentTrust) -> None:
    """One of many equal images says nothing about how often they are wrong."""
    data = drawn(120, 10, seed=1)
    with pytest.raises(RiskNotControlled, match="copies count once: 121 images are distinct"):
        trust.set_risk(0.2, [data, *recurring(trust, data, 200)])


def test_images_that_recur_and_that_fit_has_seen(trust: SegmentTrust) -> None:
    data, seen = drawn(120, 10, seed=1), recurring(trust, drawn(60, 10), 200)
    fitted = SegmentTrust().fit([drawn(60, 10), seen[1]])
    with pytest.raises(InputError, match=r"seen 200 of these 320 images.*recurring=True"):
        fitted.set_risk(0.2, [data, *seen])
    with pytest.raises(RiskNotControlled, match="200 more, of images that recur"):
        fitted.set_risk(0.2, [data, *seen], recurring=True)
    assert fitted.set_risk(0.2, [data, *seen[1::2]], recurring=True).images <= 120


@pytest.mark.parametrize("seed", range(2))
def test_a_fit_with_a_risk_does_not_forget_images_that_recur(trust: SegmentTrust, seed: int) -> None:
    """They are either among those that it learns from or among those that are set aside."""
    copies = recurring(trust, drawn(60, 10, seed=5 + seed), 200)
    fitted = SegmentTrust(risk=0.25, confidence=0.9)
    with suppress(RiskNotControlled):
        fitted.fit([drawn(300, 3, seed=seed), *copies])
        assert not np.any(fitted.predict(copies[0]).accepted)


def test_fit_takes_copies_with_other_truths(trust: SegmentTrust) -> None:
    copies = recurring(trust, drawn(1, 10, seed=4), 200)
    fitted = SegmentTrust().fit([drawn(60, 10), *copies]).fitted
    assert fitted is not None
    assert len(fitted.image) == 60 * 10 + 2
    assert len(np.unique(fitted.image)) == len(fitted.learned_images) == 61


def test_fit_takes_copies_of_an_image_once(trust: SegmentTrust) -> None:
    """Copies in other folds would be judged by an estimator that has seen them."""
    data = drawn(60, 10)
    copied = SegmentTrust().fit([data, data])
    assert trust.fitted is not None
    assert copied.fitted is not None
    assert copied.fitted.hit.losses == trust.fitted.hit.losses
    assert copied.fitted.iou.losses == trust.fitted.iou.losses
    np.testing.assert_array_equal(copied.fitted.learned_images, trust.fitted.learned_images)


def test_segments_that_no_one_judged(trust: SegmentTrust) -> None:
    none = drawn(2, 3, seed=4).of_images([False, False])
    verdicts = trust.predict(none)
    assert (len(verdicts.p_hit), len(verdicts.iou)) == (0, 0)
    assert verdicts.accepted is not None
    assert not len(verdicts.accepted)


def test_saved_and_loaded(trust: SegmentTrust, tmp_path: Path) -> None:
    loaded = again(trust, tmp_path / "trust")
    assert_same(trust, loaded, drawn(20, 10, seed=5))
    assert loaded.guarantee == trust.guarantee
    assert loaded.reads == "gradients"
    # It can be guaranteed, refuses known images, and can be saved again.
    assert loaded.set_risk(0.3, drawn(120, 10, seed=1)).risk == 0.3
    with pytest.raises(InputError, match="fit has seen"):
        loaded.set_risk(0.2, drawn(60, 10))
    assert_same(loaded, again(loaded, tmp_path / "trust"), drawn(20, 10, seed=5))
    assert len([*(tmp_path / "trust").glob("*.skops")]) == 1


def boosted(trust: SegmentTrust) -> Any:
    """The trees of a fitted model, which must have some."""
    assert trust.fitted is not None
    return trust.fitted.hit.estimator


def test_trees_are_saved_and_checked(tmp_path: Path) -> None:
    given = drawn(60, 10)
    trust = SegmentTrust().fit(given)
    assert trust.fitted is not None
    assert given.wrong is not None
    fitted = trust.fitted
    trees = HistGradientBoostingClassifier(max_iter=3).fit(given.named(fitted.axes).values, ~given.wrong)
    trust.fitted = segment_saving.Fitted(
        fitted.axes,
        segment_saving.Head(trees, "trees", fitted.hit.held_out, {}),
        fitted.iou,
        fitted.image,
        fitted.learned_images,
    )
    assert_same(trust, again(trust, tmp_path / "trust"), given)
    for field, value in (("left", 10_000), ("left", 0), ("feature_idx", 99), ("is_categorical", 1)):
        nodes = trees._predictors[1][0].nodes
        before = nodes[field][0]
        nodes[field][0] = value
        trust.save(tmp_path / "forged")
        with pytest.raises(DataError, match="tree"):
            SegmentTrust.load(tmp_path / "forged")
        nodes[field][0] = before


@pytest.mark.parametrize("wrap", [make_pipeline, lambda trees: make_pipeline(make_pipeline(trees))])
def test_trees_inside_another_estimator_are_refused(
    wrap: Callable[[Any], Any], tmp_path: Path, trust: SegmentTrust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees are checked only where `fit` puts them; unchecked ones may read outside their arrays."""
    given = drawn(60, 10)
    fitted = trust.fitted
    assert fitted is not None
    assert given.wrong is not None
    trees = HistGradientBoostingClassifier(max_iter=2).fit(given.named(fitted.axes).values, ~given.wrong)
    trees._predictors[1][0].nodes["left"][0] = 10_000
    monkeypatch.setattr(trust, "fitted", replace(fitted, hit=replace(fitted.hit, estimator=wrap(trees))))
    trust.save(tmp_path / "forged")
    with pytest.raises(DataError, match=r"forged"):
        SegmentTrust.load(tmp_path / "forged")


def test_changed_and_missing_files(trust: SegmentTrust, tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    with pytest.raises(DataError, match="holds no SegmentTrust"):
        SegmentTrust.load(folder)
    trust.save(folder)
    main = folder / "segments.json"
    text = main.read_text()
    main.write_text(text.replace('"risk": 0.', '"risk": 0.1'))
    with pytest.raises(DataError, match="changed"):
        SegmentTrust.load(folder)
    main.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        SegmentTrust.load(folder)
    main.write_text(text)
    (estimators,) = folder.glob("*.skops")
    estimators.write_bytes(estimators.read_bytes()[:-1])
    with pytest.raises(DataError, match="changed"):
        SegmentTrust.load(folder)
    estimators.unlink()
    with pytest.raises(DataError, match="missing"):
        SegmentTrust.load(folder)


def test_loading_while_another_process_replaces_the_model(
    trust: SegmentTrust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust.save(tmp_path / "trust")
    newer = SegmentTrust("forward").fit(drawn(60, 10))
    read_main, reads = main_file.read_main, []

    def replaced_since(path: Path, *arguments: Any) -> dict[str, Any]:
        content = read_main(path, *arguments)
        if not reads:
            newer.save(tmp_path / "trust")  # deletes the estimators that this content names
        reads.append(path)
        return content

    monkeypatch.setattr(main_file, "read_main", replaced_since)
    assert SegmentTrust.load(tmp_path / "trust").reads == "forward"
    assert len(reads) == 2


def rewritten(folder: Path, **changes: object) -> None:
    """Change segments.json, with a matching checksum."""
    main = folder / "segments.json"
    content = json.loads(main.read_text()) | changes
    del content["checksum"]
    write_main(main, content)


def test_forged_content(trust: SegmentTrust, tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    trust.save(folder)
    content = json.loads((folder / "segments.json").read_text())
    for changes in (
        {"features": content["features"][:-1]},
        {"image": content["image"][:-1]},
        {"guarantee": {**content["guarantee"], "threshold": float("nan")}},
        {"guarantee": {**content["guarantee"], "risk": 2}},
        {"reads": "minds"},
        {"format": 9},
    ):
        rewritten(folder, **{**content, **changes})
        with pytest.raises(DataError):
            SegmentTrust.load(folder)


def test_types_that_are_not_trusted(trust: SegmentTrust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust.save(tmp_path / "trust")
    monkeypatch.setattr(segment_saving, "_TRUSTED", ())
    monkeypatch.setattr(skops.io, "get_untrusted_types", lambda data: ["os.system"])
    with pytest.raises(DataError, match=r"os\.system"):
        SegmentTrust.load(tmp_path / "trust")


def test_foreign_folders_stay_as_they_are(trust: SegmentTrust, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="choose another folder"):
        trust.save(tmp_path)
    with pytest.raises(OutputError, match="choose another folder"):
        trust.save(tmp_path / "notes.txt")
    with pytest.raises(OutputError, match="expected at most 255"):
        trust.save(tmp_path / ("long" * 75))
    (tmp_path / "coco").mkdir()
    own = tmp_path / "coco/segments.json"
    for foreign in ('{"images": []}', "// mine", "[" * 100_000):
        own.write_text(foreign)
        with pytest.raises(OutputError, match="holds no SegmentTrust; choose another folder"):
            trust.save(own.parent)
        assert own.read_text() == foreign


def test_a_damaged_main_file_is_replaced(trust: SegmentTrust, tmp_path: Path) -> None:
    trust.save(tmp_path / "trust")
    main = tmp_path / "trust/segments.json"
    text = main.read_bytes()
    for damaged in (text[:200], text[:15], text[:3], text[:15] + bytes(4096), bytes(4096), b"\n", b""):
        main.write_bytes(damaged)
        trust.save(tmp_path / "trust")
        SegmentTrust.load(tmp_path / "trust")


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match="'both'"):
        SegmentTrust("both")
    with pytest.raises(InputError, match="risk=2"):
        SegmentTrust(risk=2)
    with pytest.raises(GradmeterError, match="not fitted"):
        SegmentTrust().save("nowhere")
    with pytest.raises(InputError, match="list"):
        SegmentTrust().fit([[1]])  # type: ignore[list-item]
    with pytest.raises(InputError, match="int"):
        SegmentTrust().fit(1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no features"):
        SegmentTrust().fit(iter([]))
    without = SegmentFeatures.concatenate([drawn(10, 3)])
    object.__setattr__(without, "adjusted_iou", None)
    with pytest.raises(InputError, match="ground truth"):
        SegmentTrust().fit(without)
