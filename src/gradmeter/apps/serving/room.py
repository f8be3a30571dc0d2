"""How much memory the requests in hand may take together."""


class Room:
    """Bytes for everything that is in hand.

    Attributes:
        size: all of them.
        free: those that nothing takes.
    """

    def __init__(self, size: int) -> None:
        self.size = self.free = size


class NoRoom(Exception):
    """Too much is in hand."""


class Share:
    """What one request takes of a room.

    Args:
        room: that it is a share of.
    """

    def __init__(self, room: Room) -> None:
        self._room, self._taken = room, 0

    def fits(self, size: int) -> bool:
        """Whether as much would be free as this request takes: large images must leave room for small ones."""
        return self._taken + size <= self._room.free - size

    def take(self, size: int) -> None:
        """Take more bytes.

        Raises:
            NoRoom: if they do not fit.
        """
        if not self.fits(size):
            raise NoRoom
        self._taken += size
        self._room.free -= size

    def release(self) -> None:
        """Give all of it back."""
        self._room.free += self._taken
        self._taken = 0
