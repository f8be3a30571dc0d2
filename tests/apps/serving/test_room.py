"""Released memory is free again, and large requests leave room for small ones."""

import pytest

from gradmeter.apps.serving.room import NoRoom, Room, Share


def test_a_request_leaves_as_much_as_it_takes() -> None:
    room = Room(100)
    large = [Share(room) for _ in range(3)]
    large[0].take(30)
    large[1].take(30)
    with pytest.raises(NoRoom):
        large[2].take(30)
    small = Share(room)
    small.take(5)
    assert room.free == 35


def test_what_is_given_back_is_free_once() -> None:
    room = Room(100)
    share = Share(room)
    share.take(10)
    share.take(20)
    share.release()
    share.release()
    assert room.free == room.size == 100
