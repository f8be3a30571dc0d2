"""A memory budget that all requests in progress share."""


class Room:
    """A memory budget in bytes.

    Attributes:
        size: the whole budget.
        free: the part that no request holds.
    """

    def __init__(self, size: int) -> None:
        self.size = self.free = size


class NoRoom(Exception):
    """The memory budget is exhausted."""


class Share:
    """The part of a memory budget that one request holds.

    Args:
        room: the budget.
    """

    def __init__(self, room: Room) -> None:
        self._room, self._held = room, 0

    def fits(self, size: int) -> bool:
        """Return whether this request can hold `size` more bytes and leave as much free as it then holds.

        Large requests thus leave room for small ones.
        """
        return self._held + size <= self._room.free - size

    def take(self, size: int) -> None:
        """Take more bytes.

        Raises:
            NoRoom: if they do not fit.
        """
        if not self.fits(size):
            raise NoRoom
        self._held += size
        self._room.free -= size

    def release(self) -> None:
        """Return all bytes to the budget."""
        self._room.free += self._held
        self._held = 0
