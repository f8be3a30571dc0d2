"""One thread for linear algebra on small matrices, where more cost more time than they save."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController, threadpool_limits


class _Blocks:
    """The blocks that run, in all threads, and the numbers of threads of BLAS before the first of them.

    BLAS has one number for the whole process. Of two blocks that overlap, the second would restore the 1 of the first.
    """

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0

    def begin(self) -> None:
        with self._lock:
            if not self._count:
                self._before = [
                    (library, library.num_threads)
                    for library in ThreadpoolController().select(user_api="blas").lib_controllers
                ]
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                for library, number in self._before:
                    library.set_num_threads(number)
                # In threadpoolctl, the thread that sets a number keeps others from it until such a block ends.
                with threadpool_limits():
                    pass


_blocks = _Blocks()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread while the block runs; of blocks that overlap, until the first one ends."""
    _blocks.begin()
    try:
        with threadpool_limits(1):
            yield
    finally:
        _blocks.end()
