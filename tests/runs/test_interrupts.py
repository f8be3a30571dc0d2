"""Ctrl-C is held back, ignored or kept, whichever thread receives it."""

import os
import signal
import threading
import weakref
from collections.abc import Iterator

import pytest

from gradmeter.runs.interrupts import interrupts_held_back, interrupts_ignored, interrupts_kept


@pytest.fixture
def another_thread() -> Iterator[None]:
    """A thread that does not block signals: the system lets it receive those that the main thread blocks."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    yield
    ended.set()
    thread.join()


def press() -> bool:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)
    return not threading.Event().wait(0.01)  # Python handles signals between two instructions


@pytest.mark.usefixtures("another_thread")
def test_ctrl_c_takes_effect_after_the_block() -> None:
    pressed: list[bool] = []
    with pytest.raises(KeyboardInterrupt), interrupts_held_back():
        pressed.extend([press(), press()])
    assert pressed == [True, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with interrupts_held_back():
        pass


@pytest.mark.usefixtures("another_thread")
def test_ctrl_c_is_ignored() -> None:
    with interrupts_ignored():
        press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Referenced:
    """An object that weak references can refer to."""


def test_ctrl_c_that_python_ignores_ends_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    """In a callback of a weak reference, as torch.export has many."""
    held = [Referenced()]
    reference = weakref.ref(held[0], lambda _: press())
    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        held.clear()
    assert reference() is None
    assert "Traceback" not in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_that_becomes_an_error_ends_the_block() -> None:
    def use() -> None:
        try:
            press()
        except KeyboardInterrupt:
            raise ValueError("another") from None

    with pytest.raises(KeyboardInterrupt), interrupts_kept():
        use()


def test_other_errors_and_handlers_are_kept() -> None:
    with pytest.raises(ValueError, match="another"), interrupts_kept():
        raise ValueError("another")
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        with interrupts_kept():
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]


def test_other_threads_leave_the_handler_alone() -> None:
    def use() -> None:
        with interrupts_held_back(), interrupts_ignored(), interrupts_kept():
            used.append(signal.getsignal(signal.SIGINT))

    used: list[object] = []
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert used == [signal.default_int_handler]
