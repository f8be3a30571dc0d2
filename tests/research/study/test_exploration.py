"""The interactive part of a study's report."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from gradmeter.research.study.data import Draw
from gradmeter.research.study.exploration import explored
from gradmeter.research.study.network import PaperCNN
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.own_judge import JudgedConcept, judge_with_trust

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_fits")]


@pytest.fixture(scope="module")
def judged(network: PaperCNN, draw: Draw) -> dict[str, JudgedConcept]:
    return judge_with_trust(network, draw, lambda done, total: None)


def test_predictions_are_those_of_the_run(judged: dict[str, JudgedConcept], draw: Draw, outcome: Outcome) -> None:
    assert [*judged] == ["test", *draw.unknowns]
    assert (judged["test"].predictions == outcome.test.predictions.numpy()).all()
    for role, readings in outcome.unknowns.items():
        assert (judged[role].predictions == readings.predictions.numpy()).all()


def test_reasons_are_given_below_one_half(judged: dict[str, JudgedConcept]) -> None:
    for concept in judged.values():
        accepted = (concept.judgement.p_correct >= 0.5) & concept.judgement.familiar
        assert [reason is None for reason in concept.reasons] == accepted.tolist()
    reasons = [reason for concept in judged.values() for reason in concept.reasons if reason]
    assert reasons
    assert {reason.partition(":")[0] for reason in reasons} <= {"doubtful", "unfamiliar"}


def test_counts_are_those_of_the_run(judged: dict[str, JudgedConcept], outcome: Outcome) -> None:
    data = json.loads(json.dumps(explored(judged)))
    groups = {group["name"]: group for group in data["groups"]}
    assert [*groups] == ["right", "wrong", "letters", "cifar10", "uniform"]
    assert [group["known"] for group in groups.values()] == [True, True, False, False, False]
    assert groups["wrong"]["samples"] == outcome.test_wrong.sum()
    assert data["thresholds"][data["marked"]] == 0.5
    assert not data["guaranteed"]
    for at in (0, data["marked"], len(data["thresholds"]) // 2):
        reached = {
            name: (concept.judgement.p_correct >= data["thresholds"][at]) & concept.judgement.familiar
            for name, concept in judged.items()
        }
        assert groups["right"]["accepted"][at] == (reached["test"] & ~outcome.test_wrong).sum()
        assert groups["wrong"]["accepted"][at] == (reached["test"] & outcome.test_wrong).sum()
        assert groups["letters"]["accepted"][at] == reached["letters"].sum()


def test_pictures_are_those_of_the_samples(judged: dict[str, JudgedConcept]) -> None:
    samples = explored(judged)["samples"]
    assert len(samples["id"]) > 200
    for name, picture in zip(samples["id"], samples["picture"], strict=True):
        role, _, number = name.partition(" ")
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
        assert (image == judged[role].images.images[int(number)]).all()
