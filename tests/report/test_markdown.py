"""Tables and counts of pages."""

from gradmeter.report.markdown import counted


def test_counts_agree_with_their_noun() -> None:
    assert [counted(count, "loss", "losses") for count in (0, 1, 2)] == ["0 losses", "1 loss", "2 losses"]
    assert [counted(count, "round") for count in (1, 9)] == ["1 round", "9 rounds"]
