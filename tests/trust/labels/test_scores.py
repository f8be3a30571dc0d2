"""Scores of labels against cleanlab and against gradients of a network."""

import numpy as np
import pytest
import torch
from cleanlab.rank import get_normalized_margin_for_each_label, get_self_confidence_for_each_label
from scipy.special import softmax

from gradmeter import GradientMeter
from gradmeter.errors import InputError
from gradmeter.trust.labels import LabelReadings, LabelScores, read_labels, scores
from trust.labels.clusters import CLASSES, clusters


def test_self_confidence_and_margin_are_those_of_cleanlab() -> None:
    inputs, _ = clusters()
    p = softmax(inputs.logits.astype(np.float64), axis=1)
    scored = scores(inputs)
    np.testing.assert_allclose(
        1 - scored["self_confidence"], get_self_confidence_for_each_label(inputs.labels, p), atol=1e-12
    )
    expected = get_normalized_margin_for_each_label(inputs.labels, p)
    np.testing.assert_allclose((1 - scored["margin"]) / 2, expected, atol=1e-12)


def test_el2n_and_knn_by_hand() -> None:
    inputs, _ = clusters(60, 6)
    scored = scores(inputs)
    p = softmax(inputs.logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(scored["el2n"], np.linalg.norm(p - np.eye(CLASSES)[inputs.labels], axis=1), atol=1e-12)
    directions = inputs.embedding / np.linalg.norm(inputs.embedding, axis=1, keepdims=True)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -2)
    nearest = np.argsort(-cosines, axis=1)[:, :20]
    agreement = (inputs.labels[nearest] == inputs.labels[:, None]).mean(axis=1)
    np.testing.assert_allclose(scored["knn"], 1 - agreement)


def test_grand_is_the_gradient_s_norm() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, CLASSES)).eval()
    images, labels = torch.randn(12, 5), torch.arange(12) % CLASSES
    scored = scores(read_labels(GradientMeter(network), images, labels, gradients=True))
    for row in range(12):
        loss = torch.nn.functional.cross_entropy(network(images[row : row + 1]), labels[row : row + 1])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        whole = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        last = torch.cat([gradient.flatten() for gradient in gradients[2:]]).norm()
        assert scored["grand"][row] == pytest.approx(float(whole), rel=1e-4)
        assert scored["grand_last"][row] == pytest.approx(float(last), rel=1e-4)


def test_out_of_fold_probabilities_replace_the_softmax() -> None:
    inputs, _ = clusters(30, 3)
    p = np.full((30, CLASSES), 1 / CLASSES, np.float32)
    other = LabelReadings(inputs.labels, inputs.logits, inputs.embedding, probabilities=p)
    np.testing.assert_allclose(scores(other)["self_confidence"], 2 / 3, rtol=1e-6)


def test_a_label_that_is_not_trusted_does_not_vote() -> None:
    inputs, wrong = clusters()
    plain = LabelScores(inputs)
    rows = np.arange(len(inputs))
    trusting = plain.trusting((~wrong).astype(np.float64))
    truth = inputs.embedding[:, :CLASSES].argmax(axis=1)
    of_truth = [scorer.votes(rows)[rows, truth] / scorer.votes(rows).sum(axis=1) for scorer in (plain, trusting)]
    assert of_truth[1].mean() > of_truth[0].mean()


def test_a_label_that_is_no_class_is_refused() -> None:
    inputs, _ = clusters(30, 0)
    labels = inputs.labels.copy()
    labels[4] = 7
    with pytest.raises(InputError, match="7"):
        LabelReadings(labels, inputs.logits, inputs.embedding)
    with pytest.raises(InputError, match="29"):
        LabelReadings(inputs.labels, inputs.logits, inputs.embedding[:29])


def test_cosines_leave_the_sample_out() -> None:
    inputs, _ = clusters(60, 6)
    scored = LabelScores(inputs).trusting(np.linspace(0.1, 1, 60))
    cosines = scored.cosines_without_self(np.arange(60))
    directions = inputs.embedding / np.linalg.norm(inputs.embedding, axis=1, keepdims=True)
    for row in range(60):
        for label in range(CLASSES):
            own = (inputs.labels == label) & (np.arange(60) != row)
            centre = (directions[own] * np.linspace(0.1, 1, 60)[own, None]).sum(axis=0)
            assert cosines[row, label] == pytest.approx(directions[row] @ centre / np.linalg.norm(centre), abs=1e-5)


@pytest.mark.parametrize("row", range(1, 60, 6))
def test_a_class_of_one_sample_has_no_centre_without_it(row: int) -> None:
    inputs, _ = clusters(60, 0)
    labels = np.where(inputs.labels == 2, 0, inputs.labels)
    labels[row] = 2
    cosines = LabelScores(LabelReadings(labels, inputs.logits, inputs.embedding)).cosines_without_self(np.arange(60))
    assert cosines[row, 2] == -2
    assert (np.delete(cosines, row, axis=0) >= -1.001).all()
