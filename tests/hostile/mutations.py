"""Damaged and manipulated files for property tests."""

from hypothesis import strategies as st

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.text(max_size=5), SIMPLE, max_size=3)
"""Arbitrary JSON values."""


def assert_clear(error: Exception) -> None:
    """Assert that the message of an error is one non-empty line."""
    assert str(error)
    assert "\n" not in str(error)


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """The content with up to six changes: bits flipped, bytes removed, duplicated or inserted, the end cut off."""
    offset = st.integers(0, len(content))
    span = st.tuples(offset, offset).map(sorted)
    change = st.one_of(
        st.tuples(st.just("flip"), offset, st.integers(1, 255)),
        st.tuples(st.just("cut"), offset),
        st.tuples(st.just("drop"), span),
        st.tuples(st.just("double"), span),
        st.tuples(st.just("insert"), offset, st.binary(min_size=1, max_size=16)),
        # Four-byte integers are often lengths and offsets.
        st.tuples(st.just("insert"), offset, st.sampled_from([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])),
    )
    return st.lists(change, min_size=1, max_size=6).map(lambda changes: _apply(content, changes))


def _apply(content: bytes, changes: list[tuple]) -> bytes:  # type: ignore[type-arg]
    for kind, *arguments in changes:
        match kind, *arguments:
            case "flip", at, bits if at < len(content):
                content = content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]
            case "cut", at:
                content = content[:at]
            case "drop", (first, last):
                content = content[:first] + content[last:]
            case "double", (first, last):
                content = content[:last] + content[first:last] + content[last:]
            case "insert", at, inserted:
                content = content[:at] + inserted + content[at + len(inserted) :]
    return content
