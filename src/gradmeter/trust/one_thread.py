"""One thread for linear algebra on small matrices, where more cost more time than they save."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


class _Shared:
    """The limit of BLAS, which holds for all threads of a process: the last block that needs it ends it."""

    def __init__(self) -> None:
        self._lock, self._blocks = threading.Lock(), 0

    def begin(self) -> None:
        with self._lock:
            if not self._blocks:
                self._limits = ThreadpoolController().select(user_api="blas").limit(limits=1)
            self._blocks += 1

    def end(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._limits.restore_original_limits()


_blas = _Shared()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and OpenMP use one thread while the block runs, also if blocks in several threads overlap."""
    _blas.begin()
    try:
        # OpenMP has a limit for each thread.
        with ThreadpoolController().select(user_api="openmp").limit(limits=1):
            yield
    finally:
        _blas.end()
