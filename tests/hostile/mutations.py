"""What becomes of a file on a bad disk, or in the hands of somebody with an aim."""

from hypothesis import strategies as st

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.text(max_size=5), SIMPLE, max_size=3)
"""What may stand in a file of JSON in place of what should."""


def assert_clear(error: Exception) -> None:
    """One line."""
    assert str(error)
    assert "\n" not in str(error)


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """Some bytes changed, something left out, doubled, put in, or the end cut off."""
    place = st.integers(0, len(content))
    span = st.tuples(place, place).map(sorted)
    change = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(1, 255)),
        st.tuples(st.just("cut"), place),
        st.tuples(st.just("drop"), span),
        st.tuples(st.just("double"), span),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=16)),
        # Numbers of four bytes are lengths and offsets, more often than not.
        st.tuples(st.just("insert"), place, st.sampled_from([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4)])),
    )
    return st.lists(change, min_size=1, max_size=6).map(lambda changes: _applied(content, changes))


def _applied(content: bytes, changes: list[tuple]) -> bytes:  # type: ignore[type-arg]
    for kind, *what in changes:
        match kind, *what:
            case "flip", at, bits if at < len(content):
                content = content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :]
            case "cut", at:
                content = content[:at]
            case "drop", (first, last):
                content = content[:first] + content[last:]
            case "double", (first, last):
                content = content[:last] + content[first:last] + content[last:]
            case "insert", at, some:
                content = content[:at] + some + content[at + len(some) :]
    return content
