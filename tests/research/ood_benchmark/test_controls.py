import numpy as np
import torch

from gradmeter.research.ood_benchmark.controls import ALL_LABELS, controls, pixel_judge, pixel_statistics
from trust.named_features import feature

NAMES = [
    "entropy",
    "logit:3",
    "conv1/l2",
    "dense/l2",
    "uniform:conv1/l2",
    "activation:conv1/std",
    "activation:dense/std",
    "embedding:0",
]
CONTROLS = controls(("conv1", "dense"), ("predicted", "uniform"), ("blur", "blend"), ("omniglot", "uniform"))


def kept(name: str) -> list[str]:
    return [shown for shown in NAMES if CONTROLS[name].keeps(feature(shown))]


def test_features_of_each_control() -> None:
    outputs = NAMES[:2]
    assert kept(ALL_LABELS) == NAMES
    assert kept("without gradients") == [*outputs, *NAMES[5:]]
    assert kept("without activations") == [*NAMES[:5], "embedding:0"]
    assert kept("without the embedding") == NAMES[:-1]
    assert kept("gradients only") == NAMES[:5]
    assert kept("activations only") == [*outputs, *NAMES[5:7]]
    assert kept("class-aware logits only") == outputs
    assert kept("layer conv1 alone") == [*outputs, "conv1/l2", "uniform:conv1/l2", "activation:conv1/std"]
    assert kept("pseudo-label uniform alone") == [*outputs, "uniform:conv1/l2"]
    assert kept("pseudo-label predicted alone") == [*outputs, "conv1/l2", "dense/l2"]


def test_training_data_of_each_control() -> None:
    assert [kind for kind in ("blur", "blend") if CONTROLS["without blur"].kinds(kind)] == ["blend"]
    assert not CONTROLS["no synthetic unknowns"].kinds("blur")

    def known_unknowns(control: str) -> list[str]:
        return [concept for concept in ("omniglot", "uniform") if CONTROLS[control].known_unknowns(concept)]

    assert known_unknowns("with 200 known uniform") == ["uniform"]
    assert known_unknowns("with 200 known of each but uniform") == ["omniglot"]
    assert known_unknowns(ALL_LABELS) == []


def test_which_controls_do_not_use_outputs() -> None:
    alone = [name for name, control in CONTROLS.items() if not control.outputs]
    assert alone == [name for name in CONTROLS if name.endswith((" alone", "gradients only", "activations only"))]


def test_pixel_statistics() -> None:
    images = torch.rand(4, 3, 5, 6, dtype=torch.float64)
    statistics = pixel_statistics(images)
    assert statistics.shape == (4, 9)
    channel = images[1, 2].numpy()
    np.testing.assert_allclose(statistics[1, 2], channel.mean())
    np.testing.assert_allclose(statistics[1, 5], channel.std(ddof=1))
    variation = np.abs(np.diff(channel, axis=0)).mean() + np.abs(np.diff(channel, axis=1)).mean()
    np.testing.assert_allclose(statistics[1, 8], variation)


def test_the_pixel_judge_separates_noise_from_flat_images() -> None:
    random = torch.Generator().manual_seed(0)
    flat = torch.rand(60, 1, 1, 1, generator=random).expand(60, 1, 8, 8) + 0.01
    noise = torch.rand(60, 1, 8, 8, generator=random)
    judge = pixel_judge(flat, noise)
    assert (
        judge.decision_function(pixel_statistics(noise)).min() > judge.decision_function(pixel_statistics(flat)).max()
    )
