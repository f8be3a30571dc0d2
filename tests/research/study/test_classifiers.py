import dataclasses

import numpy as np

from gradmeter.research.study.classifiers import TRAINING_SETS, TrainingTask, layer_groups, tasks
from gradmeter.research.study.features import Features
from gradmeter.research.study.outcome import Outcome

GROUPS = ("dense", "conv3+dense", "conv2+conv3+dense")


def test_the_training_sets_are_those_of_the_paper_and_normal_noise() -> None:
    assert TRAINING_SETS == {
        "a": (),
        "b": ("uniform",),
        "c": ("uniform", "cifar10"),
        "d": ("uniform", "cifar10", "omniglot"),
        "normal": ("normal",),
    }


def test_the_ablation_adds_layers_from_the_last_to_the_first(outcome: Outcome) -> None:
    assert tuple(layer_groups(outcome.validation)) == GROUPS
    assert layer_groups(outcome.validation)["conv3+dense"] == ("conv3", "dense")


def test_tasks_are_those_that_the_data_can_give(outcome: Outcome) -> None:
    names = [task.name("nn") for task in tasks(outcome)]
    assert names == ["nn_a", "nn_b", "nn_c", *(f"nn_a@{group}" for group in GROUPS)]
    every = dict.fromkeys(("uniform", "cifar10", "omniglot", "normal"), outcome.known_unknowns["uniform"])
    rich = dataclasses.replace(outcome, known_unknowns=every)
    assert [task.training_set for task in tasks(rich)] == ["a", "b", "c", "d", "normal", "a", "a", "a"]


def test_known_unknowns_are_labelled_like_wrong_predictions(outcome: Outcome) -> None:
    task = TrainingTask("c")
    features = task.features(outcome, whole_gradient=False)
    matrix, labels = task.training_data(outcome, features)
    assert matrix.shape == (120 + 20 + 20, len(features.names))
    np.testing.assert_array_equal(labels, [*outcome.validation_wrong, *[True] * 40])
    np.testing.assert_array_equal(matrix[120:140], features.matrix(outcome.known_unknowns["uniform"]))
    np.testing.assert_array_equal(matrix[140:], features.matrix(outcome.known_unknowns["cifar10"]))
    matrix, labels = TrainingTask("a").training_data(outcome, features)
    assert matrix.shape == (120, len(features.names))
    np.testing.assert_array_equal(labels, outcome.validation_wrong)


def test_the_paper_has_33_features_one_of_which_is_zero(outcome: Outcome) -> None:
    assert len(Features.every(outcome.validation, whole_gradient=False).names) == 4 * 8 + 1
    assert len(Features.every(outcome.validation, whole_gradient=True).names) == 5 * 8 + 1
    assert len(TrainingTask("a").features(outcome, whole_gradient=False).names) == 32


def test_a_task_marks_the_features_it_may_use(outcome: Outcome) -> None:
    task = TrainingTask("b", ("conv3", "dense"))
    data = task.meta_data(outcome, whole_gradient=False)
    every = np.array(Features.every(outcome.validation).names)
    assert data.features.shape == (140, 33)
    assert set(every[data.used]) == set(Features.chosen(outcome.validation, ("conv3", "dense")).names)
