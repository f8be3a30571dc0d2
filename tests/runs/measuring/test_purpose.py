"""What messages say about a measurement that was made with something else."""

from gradmeter.runs.measuring.purpose import changes, is_same_data
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked


def test_changes_of_the_preprocessing_are_named() -> None:
    before, now = (
        repr(Stacked(ResizeAndNormalise(size, (mean, 0.0), (1.0, 1.0)))) for size, mean in ((8, 0.0), (16, 0.5))
    )
    assert changes({"preprocessing": before}, {"preprocessing": now}) == [
        "the preprocessing changed: size was 8, is 16; mean was 0.0, 0.0, is 0.5, 0.0"
    ]
    assert changes({"preprocessing": "f"}, {"preprocessing": "g"}) == ["the preprocessing changed"]


def test_outputs_of_another_machine_are_the_same() -> None:
    recorded = {"outputs": [[1.0, -2.0], [0.5, 0.0]]}
    assert changes(recorded, {"outputs": [[1.03, -1.97], [0.5, 0.03]]}) == []
    assert changes({}, recorded) == []
    assert len(changes(recorded, {"outputs": [[1.05, -2.0], [0.5, 0.0]]})) == 1
    assert len(changes(recorded, {"outputs": [[1.0, -2.0]]})) == 1
    assert changes(recorded | {"arrays": 1}, {"outputs": [[9.0, 9.0]], "arrays": 2}) == [
        "samples or labels were added, removed, renamed or replaced"
    ]


def test_earlier_versions_did_not_record_whether_there_are_labels() -> None:
    assert changes({"data": "d"}, {"data": "d", "labelled": True}) == []


def test_values_are_words() -> None:
    before = {"classes": None, "second look": False, "names": [str(number) for number in range(12)]}
    now = {"classes": ["cat", "dog"], "second look": True, "names": []}
    assert changes(before, now) == [
        "classes was none, is cat, dog",
        "names was 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more, is empty",
        "second look was no, is yes",
    ]


def test_added_samples_are_the_same_data() -> None:
    recorded = {"data": "d", "contents": "a", "samples": 3}
    assert is_same_data(recorded, {"data": "d", "contents": "b", "samples": 4})
    assert not is_same_data(recorded, {"data": "e", "contents": "a", "samples": 3})
    assert is_same_data({**recorded, "data": "./d/"}, recorded)  # as earlier versions wrote it
    assert changes(recorded, {"data": "d", "contents": "b", "samples": 4}) == [
        "samples or labels were added, removed, renamed or replaced; there were 3 samples, now 4"
    ]
