"""The comparison of a judge that reads the forward pass with one that reads gradients, too."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import GradmeterWarning, InputError
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.readings import Readings
from gradmeter.trust import reads
from gradmeter.trust.evaluation.comparison import ALL, WRONG
from gradmeter.trust.reads import FORWARD, GRADIENTS, PILOT, Pilot, choose_by_readings, choose_reads, compare_readings
from gradmeter.trust.synthetic import KINDS
from trust.quick import fit_quickly


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    repetitions = reads._REPETITIONS
    fit_quickly(monkeypatch)
    monkeypatch.setattr(reads, "_REPETITIONS", repetitions)  # these tests are about the choice


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


def data(count: int = 300) -> tuple[Tensor, Tensor]:
    """Return random images; every fifth label differs from the prediction."""
    images, model = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)), network()
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[::5] = (labels[::5] + 1) % 3
    return images, labels


def unknown() -> Tensor:
    return 2 * torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(images.split(50), labels.split(50), strict=True)


def planted(readings: Readings, labels: Tensor, height: float = 3.0) -> Readings:
    """Return readings whose gradients, but nothing else, tell which predictions are wrong, by this height."""
    wrong = (readings.predictions != labels).double()
    noise = torch.rand(readings.values.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values = 1 + noise + height * wrong[:, None, None]
    same = torch.zeros_like(readings.log_scale)
    further = {name: replace(other, log_scale=same, values=values) for name, other in readings.further.items()}
    return replace(readings, log_scale=same, values=values, further=further)


def test_gradients_that_tell_are_read() -> None:
    images, labels = data()
    readings = planted(GradientMeter(network()).for_trust_model()(images), labels)
    choice = choose_by_readings(readings, labels, {})
    assert choice.reads == GRADIENTS
    (gain,) = choice.gains
    assert gain.group == WRONG
    assert gain.gradients > gain.forward + 0.1
    assert gain.difference.value == pytest.approx(gain.gradients - gain.forward)
    assert gain.difference.low > 0.1


def test_gradients_that_add_nothing_are_not_read() -> None:
    images, labels = data()
    readings = planted(GradientMeter(network()).for_trust_model()(images), labels, height=0)
    choice = choose_by_readings(readings, labels, {})
    assert choice.reads == FORWARD
    assert choice.gains[0].difference.low <= 0


@pytest.mark.usefixtures("quick")
def test_what_is_compared() -> None:
    images, labels = data(150)
    choice = choose_reads(GradientMeter(network()), [(Inputs.of(images), labels)])
    assert choice.known == 150
    assert {gain.group for gain in choice.gains} == {WRONG, ALL, *KINDS}
    assert 0 < choice.seconds[0] <= choice.seconds[1]


def test_the_first_reading_of_a_network_is_not_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter plans how to measure a network when it first reads it; with few inputs that would be most of the time."""
    images, labels = data(20)
    clock, model = [0.0], network()

    def pass_time(module: nn.Module, args: tuple[Tensor]) -> None:
        clock[0] += 1 if clock[0] else 1000

    model.register_forward_pre_hook(pass_time)
    monkeypatch.setattr(reads.time, "perf_counter", lambda: clock[0])
    choice = choose_reads(GradientMeter(model), [(Inputs.of(images), labels)])
    assert choice.seconds[1] < 1000 / 20


def test_each_kind_of_synthetic_unknowns_is_compared_out_of_fold() -> None:
    """Gradients tell nothing about a kind that is a copy of the known inputs: judges that had seen it would know it."""
    images, labels = data()
    readings = GradientMeter(network()).for_trust_model()(images)
    gains = compare_readings(readings, labels, {"copies": readings.rows(np.arange(0, 300, 3))})
    copies = next(gain for gain in gains if gain.group == "copies")
    assert copies.gradients == pytest.approx(0.5, abs=0.12)


@pytest.mark.usefixtures("quick")
def test_copies_count_once() -> None:
    """A judge that has seen the copies of a held-out input would know it."""
    images, labels = data(150)
    other = torch.where(torch.arange(150) < 30, (labels + 1) % 3, labels)
    images, labels = torch.cat([images] * 3), torch.cat([labels, labels, other])
    pilot = Pilot()
    pilot.add(images, labels)
    assert choose_reads(GradientMeter(network()), pilot.batches()).known == 150
    images, labels = images[:300], labels[:300]
    trust = TrustModel(GradientMeter(network()), reads="auto")
    trust.fit(GradientMeter(network()).for_trust_model()(images).to_arrow().append_column("label", [labels.tolist()]))
    assert trust.choice is not None
    assert trust.choice.known == 150


@pytest.mark.usefixtures("quick")
def test_inputs_with_several_labels_are_named() -> None:
    images, labels = data(150)
    trust = TrustModel(GradientMeter(network()), reads="forward")
    with pytest.warns(GradmeterWarning, match="30 of the known inputs occur again with another label"):
        trust.fit([(images, labels), (images[:30], (labels[:30] + 1) % 3), (images[30:60], labels[30:60])])


@pytest.mark.parametrize("wrong", [0, 9])
def test_with_too_few_wrong_predictions_the_forward_pass_is_read(wrong: int) -> None:
    images, _ = data()
    readings = GradientMeter(network()).for_trust_model()(images)
    labels = readings.predictions.clone()
    labels[:wrong] = (labels[:wrong] + 1) % 3
    choice = choose_by_readings(readings, labels, {})
    assert choice.reads == FORWARD
    assert not choice.gains
    assert f"{wrong} of 300" in choice.reason


def test_with_too_few_right_predictions_those_are_named() -> None:
    readings = GradientMeter(network()).for_trust_model()(data()[0])
    labels = (readings.predictions + 1) % 3
    labels[:8] = readings.predictions[:8]
    choice = choose_by_readings(readings, labels, {})
    assert choice.reads == FORWARD
    assert "8 of 300 predictions are right" in choice.reason


class Unreadable(nn.Module):
    """A network without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, batch: Tensor) -> Tensor:
        return self.network(batch).detach()


@pytest.mark.usefixtures("quick")
def test_a_network_without_gradients_is_judged_by_its_forward_pass() -> None:
    images, labels = data(80)
    trust = TrustModel(GradientMeter(Unreadable())).fit((images, labels), synthetic=[unknown()])
    assert trust.choice is not None
    assert trust.choice.reads == FORWARD
    assert trust.predict_proba(images[:5]).shape == (5,)


class Forwards(torch.autograd.Function):
    """An operation without a backward pass, as compiled kernels for inference are."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clamp(0)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        raise NotImplementedError("this kernel\nhas no backward pass")


class OnlyForwards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(Forwards.apply(self.first(x)).flatten(1))


def test_a_network_without_a_backward_pass_is_judged_by_its_forward_pass() -> None:
    images, labels = data(100)
    choice = choose_reads(GradientMeter(OnlyForwards().eval()), [(Inputs.of(images), labels)])
    assert choice.reads == FORWARD
    assert choice.reason == "gradients cannot be read: this kernel has no backward pass"


class Picky(nn.Module):
    """A network that takes no image without contrast."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.network, self.error = network(), error

    def forward(self, images: Tensor) -> Tensor:
        if (images.flatten(1).std(1) < 0.2).any():
            raise self.error
        return self.network(images)


def test_kinds_of_synthetic_unknowns_on_which_the_network_fails_are_not_compared() -> None:
    images, labels = data()
    choice = choose_reads(GradientMeter(Picky(ValueError("no contrast")).eval()), [(Inputs.of(images), labels)])
    assert {WRONG, ALL} < {gain.group for gain in choice.gains} < {WRONG, ALL, *KINDS}
    with pytest.raises(MemoryError):
        choose_reads(GradientMeter(Picky(MemoryError()).eval()), [(Inputs.of(images), labels)])


def test_slow_gradients_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "_SECONDS", 0.0)
    images, labels = data()
    choice = choose_reads(GradientMeter(network()), batches(images, labels))
    assert choice.reads == FORWARD
    assert choice.known == 0
    assert "of 50 predictions are right, too few" in choice.reason
    assert choice.reason.endswith("the comparison read 50 in 0 seconds")


@pytest.mark.usefixtures("quick")
def test_fit_reads_no_gradients_where_the_counts_cannot_decide() -> None:
    """Reading them took up to two minutes; then the reason names the time for an input."""
    images, labels = data(150)
    with torch.no_grad():
        right = network()(images).argmax(1) == labels
    few = torch.cat([right.nonzero().flatten(), (~right).nonzero().flatten()[:19]])
    known = images[few], labels[few]
    trust = TrustModel(GradientMeter(network())).fit(known, synthetic=[unknown()])
    assert trust.choice is not None
    assert trust.choice.reason == f"19 of {len(few)} predictions are wrong, too few to show whether gradients help"


@cache
def explicit(chosen: str) -> TrustModel:
    """Fitted once for the tests with the fixture `quick`."""
    return TrustModel(GradientMeter(network()), reads=chosen).fit(data(80), synthetic=[unknown()])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("chosen", [FORWARD, GRADIENTS])
@pytest.mark.parametrize("once", [False, True])
def test_fit_reads_what_was_chosen(chosen: str, once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator can be read only once, and gives the same judge as a list."""
    monkeypatch.setattr("gradmeter.trust.model.choose_reads", lambda *_: reads.ReadsChoice(chosen, "in a test"))
    images, labels = data(80)
    generator = batches(images, labels)
    trust = TrustModel(GradientMeter(network())).fit(generator if once else list(generator), synthetic=[unknown()])
    assert trust.meter.gradients == (chosen == GRADIENTS)
    torch.testing.assert_close(trust.predict_proba(images[:20]), explicit(chosen).predict_proba(images[:20]))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gradients", [False, True])
def test_fit_to_readings(gradients: bool) -> None:
    images, labels = data(150)
    meter = GradientMeter(network()).for_trust_model(gradients=gradients)
    trust = TrustModel(GradientMeter(network())).fit((meter(images), labels))
    assert trust.choice is not None
    assert trust.meter.gradients == (trust.choice.reads == GRADIENTS)
    assert gradients or trust.choice.reads == FORWARD
    assert bool(trust.choice.gains) == gradients


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("order", ["generator", "shuffled"])
def test_fit_reads_readings_once(order: str, gradients: bool) -> None:
    """A second reading of a generator is empty, and one of a shuffled loader has other labels."""
    images, labels = data(150)
    meter = GradientMeter(network()).for_trust_model(gradients=gradients)
    pairs = [(meter(part), classes) for part, classes in batches(images, labels)]
    expected = TrustModel(GradientMeter(network())).fit(pairs)
    in_turn = [pairs, pairs[::-1]]

    class Shuffled:
        def __iter__(self) -> Iterator[tuple[Readings, Tensor]]:
            yield from in_turn.pop(0)

    trust = TrustModel(GradientMeter(network())).fit(iter(pairs) if order == "generator" else Shuffled())
    assert trust.choice == expected.choice
    assert torch.equal(trust.predict_proba(images), expected.predict_proba(images))


@pytest.mark.usefixtures("quick")
def test_readings_with_and_without_gradients_are_read_as_without() -> None:
    images, labels = data(150)
    pairs = [
        (GradientMeter(network()).for_trust_model(gradients=number > 0)(part), classes)
        for number, (part, classes) in enumerate(batches(images, labels))
    ]
    trust = TrustModel(GradientMeter(network())).fit(pairs)
    assert trust.choice is not None
    assert (trust.choice.reads, trust.choice.known) == (FORWARD, 0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("chosen", [FORWARD, GRADIENTS])
def test_known_and_unknown_readings_are_compared_after_the_choice(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradmeter.trust.model.choose_by_readings", lambda *_: reads.ReadsChoice(chosen, "in a test"))
    images, labels = data(150)
    readings = GradientMeter(network()).for_trust_model()(images)
    with pytest.raises(InputError, match="50 of the 50"):
        TrustModel(GradientMeter(network())).fit((readings, labels), [readings.rows(np.arange(50))])


def choosing(monkeypatch: pytest.MonkeyPatch, *choices: str) -> None:
    """Let fits choose to read these, one after the other."""
    left = [reads.ReadsChoice(chosen, "in a test") for chosen in choices]
    monkeypatch.setattr("gradmeter.trust.model.choose_reads", lambda *_: left.pop(0))


@pytest.mark.usefixtures("quick")
def test_a_second_fit_chooses_again(monkeypatch: pytest.MonkeyPatch) -> None:
    choosing(monkeypatch, GRADIENTS, FORWARD)
    known, (images, labels) = data(80), data(160)
    trust = TrustModel(GradientMeter(network())).fit((images[80:], labels[80:]), synthetic=[unknown()])
    assert trust.meter.gradients
    trust.fit(known, synthetic=[unknown()])
    assert trust.choice is not None
    assert trust.choice.reads == FORWARD
    assert torch.equal(trust.predict_proba(images), explicit(FORWARD).predict_proba(images))


@pytest.mark.usefixtures("quick")
def test_what_choose_chose_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    choosing(monkeypatch, GRADIENTS)
    images, labels = data(80)
    trust = TrustModel(GradientMeter(network()))
    choice = trust.choose([(Inputs.of(images), labels)])
    for _ in range(2):
        assert trust.fit((images, labels), synthetic=[unknown()]).choice == choice
        assert trust.meter.gradients


def test_there_is_no_choice_with_reads_that_are_given() -> None:
    """`fit` read what `choose` chose instead."""
    images, labels = data(80)
    with pytest.raises(InputError, match="reads='gradients' leaves no choice"):
        TrustModel(GradientMeter(network()), reads=GRADIENTS).choose([(Inputs.of(images), labels)])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "a batch has no labels"),
        (torch.full((80,), 3), "has the label 3; expected a class from 0 to 2"),
        (torch.zeros(79, dtype=torch.int64), "79 labels for 80 inputs"),
        (torch.zeros(80), "labels have type float32"),
    ],
)
def test_choose_with_labels_that_are_none(labels: Tensor | None, message: str) -> None:
    """They ended in errors of PyTorch, or counted as wrong predictions."""
    images, _ = data(80)
    with pytest.raises(InputError, match=message):
        TrustModel(GradientMeter(network())).choose([(images, labels)])


def test_choose_takes_the_forms_of_fit() -> None:
    images, labels = data(150)
    choices = [
        TrustModel(GradientMeter(network())).choose(known)
        for known in ([(images, labels)], (images.numpy(), labels.numpy()), [{"input": images, "labels": labels}])
    ]
    assert choices[0].gains
    assert all(choice.gains == choices[0].gains for choice in choices[:2])
    assert choices[2].known == 150


@pytest.mark.usefixtures("quick")
def test_a_choice_changes_verdicts_only_with_the_next_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    choosing(monkeypatch, GRADIENTS, FORWARD)
    images, labels = data(80)
    trust = TrustModel(GradientMeter(network())).fit((images, labels), synthetic=[unknown()])
    before = trust.predict_proba(images)
    trust.choose([(Inputs.of(images), labels)])
    assert torch.equal(trust.predict_proba(images), before)
    trust.fit((images, labels), synthetic=[unknown()])
    assert not trust.meter.gradients


@pytest.mark.usefixtures("quick")
def test_a_fit_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    choosing(monkeypatch, FORWARD, GRADIENTS)
    images, labels = data(80)
    trust = TrustModel(GradientMeter(network())).fit((images, labels), synthetic=[unknown()])
    before = vars(trust).copy()
    with pytest.raises(InputError, match=r"at least 50\b.* check the order of its classes"):
        trust.fit((images[:5], labels[:5]), synthetic=[unknown()])
    assert vars(trust) == before


@pytest.mark.usefixtures("quick")
def test_the_choice_is_saved(tmp_path: Path) -> None:
    images, labels = data(150)
    model = network()
    trust = TrustModel(GradientMeter(model)).fit((images, labels), synthetic=[unknown()])
    trust.save(tmp_path / "trust")
    loaded = TrustModel.load(tmp_path / "trust", model)
    assert loaded.choice == trust.choice
    assert loaded.meter.second_look == trust.meter.second_look
    assert torch.equal(loaded.predict_proba(images), trust.predict_proba(images))


def test_a_pilot_is_a_sample_of_the_inputs_with_their_labels() -> None:
    pilot = Pilot()
    for start in range(0, 3000, 100):
        numbers = torch.arange(start, start + 100)
        pilot.add({"tokens": numbers[:, None].repeat(1, 2 + start // 2000)}, numbers)
    assert len(pilot) == PILOT
    kept = []
    for inputs, labels in pilot.batches():
        (tokens,) = inputs.tensors
        assert torch.equal(tokens[:, 0], labels)
        kept += labels.tolist()
    assert len(set(kept)) == PILOT
    assert 1300 < np.mean(kept) < 1700
