"""Nearest neighbours: copies are none, and tiles and projections change little."""

import numpy as np
import pytest
import torch

from gradmeter.trust.labels import neighbours as module
from gradmeter.trust.labels.neighbours import nearest


def test_copies_of_an_input_are_no_neighbours() -> None:
    embedding = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    doubled = np.concatenate([embedding, embedding])
    found = nearest(doubled, 5)
    assert not (found.rows % 20 == np.arange(40)[:, None] % 20).any()


def test_tiles_do_not_change_the_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    whole = nearest(embedding, 5)
    monkeypatch.setattr(module, "_TILE", 150)
    np.testing.assert_array_equal(nearest(embedding, 5).rows, whole.rows)


def test_of_many_inputs_only_some_are_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REFERENCES", 30)
    found = nearest(np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32), 5)
    assert len(np.unique(found.rows)) <= 30


def test_a_long_embedding_is_projected() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 300))
    classes = np.arange(400) % 4
    embedding = (3 * centres[classes] + random.normal(size=(400, 300))).astype(np.float32)
    found = nearest(embedding, 5)
    assert found.embedding.shape == (400, 128)
    assert (classes[found.rows] == classes[:, None]).all()


def test_autocast_changes_nothing() -> None:
    embedding = np.random.default_rng(0).normal(size=(60, 5))
    expected = nearest(embedding, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest(embedding, 4)
    np.testing.assert_array_equal(found.similarity, expected.similarity)


def test_two_inputs_and_equal_inputs() -> None:
    assert nearest(np.eye(2, dtype=np.float32)).rows.tolist() == [[1], [0]]
    assert (nearest(np.ones((3, 2), np.float32)).rows == -1).all()


def test_an_input_whose_square_overflows() -> None:
    embedding = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    embedding[0] = 1e30 * embedding[1] + np.float32(1e29)
    neighbours = nearest(embedding, 1)
    assert neighbours.rows[0, 0] == 1
    np.testing.assert_allclose(np.linalg.norm(neighbours.embedding, axis=1), 1, rtol=1e-6)
