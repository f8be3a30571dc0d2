"""The limit of threads ends with the last block that needs it."""

import json
import os
import subprocess
import sys
import threading

import sklearn.linear_model  # noqa: F401  # loads BLAS and OpenMP
from threadpoolctl import threadpool_info

from gradmeter.trust.one_thread import one_thread


def threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info()]


def overlap() -> None:
    """Print the numbers of threads before and after blocks of which the first one ends first, and in a later one."""
    first_began, second_began, first_ended = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with one_thread():
            first_began.set()
            second_began.wait(10)
        first_ended.set()

    numbers = [threads()]
    thread = threading.Thread(target=first)
    thread.start()
    first_began.wait(10)
    with one_thread():
        second_began.set()
        first_ended.wait(10)
    thread.join()
    numbers.append(threads())
    with one_thread():
        pass

    def later() -> None:
        with one_thread():
            numbers.append(threads())

    thread = threading.Thread(target=later)
    thread.start()
    thread.join()
    try:
        with one_thread(), one_thread():
            raise KeyError
    except KeyError:
        numbers.append(threads())
    print(json.dumps(numbers))


def test_blocks_in_threads_that_end_in_another_order() -> None:
    two = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
    finished = subprocess.run(
        [sys.executable, "-P", __file__], env={**os.environ, **two}, capture_output=True, text=True, check=True
    )
    before, after, in_another_thread, after_an_error = json.loads(finished.stdout)
    assert set(before) == set(after) == set(after_an_error) == {2}
    assert set(in_another_thread) == {1}


if __name__ == "__main__":
    overlap()
