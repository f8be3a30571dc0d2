import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from gradmeter.reading.scores import max_softmax
from gradmeter.research.ood_benchmark.baselines import (
    GradTrust,
    MetaModel,
    NormalisedKNN,
    NormalisedMahalanobis,
    PNormMaxLogit,
)

RANDOM = np.random.default_rng(0)
Batches = list[tuple[Tensor, Tensor]]


def clouds(count: int, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return embeddings [count, 5] around the corners of a simplex, and the classes [count]."""
    labels = np.arange(count) % 3
    return torch.from_numpy(3 * np.eye(3, 5)[labels] + spread * RANDOM.normal(size=(count, 5))), torch.from_numpy(
        labels
    )


def batches(inputs: Tensor, labels: Tensor) -> Batches:
    return list(zip(inputs.split(30), labels.split(30), strict=True))


def test_p_norm_max_logit() -> None:
    # The smaller the margin, the likelier the prediction is wrong; the scale of the logits says nothing.
    shape = RANDOM.normal(size=(80, 4))
    margin = np.sort(shape, axis=1)[:, 3] - np.sort(shape, axis=1)[:, 2]
    logits = torch.from_numpy(shape * np.exp(RANDOM.normal(size=(80, 1))))
    labels = (logits.argmax(1) + torch.from_numpy(margin < np.quantile(margin, 0.3))) % 4
    detector = PNormMaxLogit(nn.Identity()).fit(batches(logits, labels))
    wrong = (logits.argmax(1) != labels).numpy()

    def score(power: int) -> list[float]:
        rows = []
        for row in logits.tolist():
            centred = [value - sum(row) / 4 for value in row]
            rows.append(-max(centred) / sum(abs(value) ** power for value in centred) ** (1 / power))
        return rows

    def aurc(scores: list[float]) -> float:
        errors = wrong[np.argsort(scores)]
        return float((errors.cumsum() / np.arange(1, 81)).mean())

    best = min(range(1, 11), key=lambda power: aurc(score(power)))
    assert aurc(score(best)) < aurc(list(-max_softmax(logits)))
    assert detector.power == best
    np.testing.assert_allclose(detector.predict(logits).numpy(), score(best))


def test_p_norm_max_logit_falls_back_to_the_softmax() -> None:
    logits = torch.from_numpy(RANDOM.normal(size=(40, 4)))
    detector = PNormMaxLogit(nn.Identity()).fit(batches(logits, logits.argmax(1)))  # no wrong prediction
    np.testing.assert_allclose(detector.predict(logits).numpy(), -max_softmax(logits))


def test_distance_to_the_tenth_neighbour() -> None:
    known, labels = clouds(60)
    query, _ = clouds(7)
    detector = NormalisedKNN(nn.Identity()).fit(batches(known, labels))
    unit = [np.array(row) / np.linalg.norm(row) for row in known.tolist()]
    expected = [
        sorted(np.linalg.norm(np.array(row) / np.linalg.norm(row) - u) for u in unit)[9] for row in query.tolist()
    ]
    np.testing.assert_allclose(detector.predict(query).numpy(), expected)


def test_mahalanobis_in_the_normalised_embedding() -> None:
    known, labels = clouds(90, 0.5)
    query, _ = clouds(7)
    detector = NormalisedMahalanobis(nn.Identity()).fit(batches(known, labels))
    unit = known.numpy() / np.linalg.norm(known, axis=1, keepdims=True)
    means = np.stack([unit[labels == number].mean(axis=0) for number in range(3)])
    residuals = unit - means[labels]
    precision = np.linalg.inv(residuals.T @ residuals / len(unit))
    rows = query.numpy() / np.linalg.norm(query, axis=1, keepdims=True)
    expected = [min(np.sqrt((row - mean) @ precision @ (row - mean)) for mean in means) for row in rows]
    np.testing.assert_allclose(detector.predict(query).numpy(), expected)


def test_a_constant_dimension_of_the_embedding() -> None:
    known, labels = clouds(60)
    known[:, 4] = 0
    scores = NormalisedMahalanobis(nn.Identity()).fit(batches(known, labels)).predict(known)
    assert torch.isfinite(scores).all()


def test_grad_trust_is_that_of_gradients() -> None:
    torch.manual_seed(0)
    last = nn.Linear(5, 4).double()
    expected = []
    embeddings = torch.randn(6, 5, dtype=torch.float64)
    for embedding in embeddings:
        loss = nn.functional.mse_loss(last(embedding), torch.full((4,), 0.25, dtype=torch.float64))
        (gradient,) = torch.autograd.grad(loss, last.weight)
        variances = (gradient**2).var(dim=1)
        expected.append(float(-variances.max() / variances.mean()))
    np.testing.assert_allclose(GradTrust(last).predict(embeddings).numpy(), expected)


@pytest.mark.slow
def test_the_meta_model_learns_which_predictions_are_wrong() -> None:
    embeddings, _ = clouds(600)
    last = nn.Linear(5, 3).double()
    nn.init.eye_(last.weight)
    nn.init.zeros_(last.bias)
    predictions = embeddings[:, :3].argmax(1)
    # The last dimension of the embedding says what the logits do not.
    wrong = embeddings[:, 4] > 1
    labels = torch.where(wrong, (predictions + 1) % 3, predictions)
    detector = MetaModel(nn.Identity(), last).fit(batches(embeddings[:400], labels[:400]))
    assert detector.chosen is not None
    scores = detector.predict(embeddings[400:]).numpy()
    assert roc_auc_score(wrong[400:], scores) > 0.95
    assert roc_auc_score(wrong[400:], -max_softmax(embeddings[400:, :3])) < 0.7


def test_the_meta_model_without_wrong_predictions_is_the_softmax() -> None:
    embeddings, _ = clouds(60)
    last = nn.Linear(5, 3).double()
    with torch.no_grad():
        logits = last(embeddings)
    detector = MetaModel(nn.Identity(), last).fit(batches(embeddings, logits.argmax(1)))
    np.testing.assert_allclose(detector.predict(embeddings).numpy(), -max_softmax(logits))
