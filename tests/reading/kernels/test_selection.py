"""The environment variable that selects a compiled kernel; threads and memory of every kernel in a new process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradmeter.errors import InputError
from gradmeter.reading.kernels import compiled

if not compiled.available():
    pytest.skip(f"compiled kernel {compiled.reason()}", allow_module_level=True)

from gradmeter.reading.kernels import _compiled

VARIANTS = _compiled.variants()


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Let the kernel be selected again, here and after the test."""
    before = _compiled.variant()
    compiled._load.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    compiled._load.cache_clear()
    _compiled.select(before)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_environment_selects_a_kernel(variant: str, anew: pytest.MonkeyPatch) -> None:
    anew.setenv("GRADMETER_KERNEL", variant)
    assert compiled.reason().startswith(f"{variant} kernel, ")
    assert _compiled.variant() == variant


def test_an_unknown_kernel_is_refused_in_one_line(anew: pytest.MonkeyPatch) -> None:
    anew.setenv("GRADMETER_KERNEL", "x86-64-v9")
    with pytest.raises(InputError, match=r"^GRADMETER_KERNEL: kernel 'x86-64-v9' is unknown") as caught:
        compiled.available()
    assert VARIANTS[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def _printed(code: str) -> list[str]:
    """The lines that a new Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list a process's libraries")
def test_the_threads_are_those_of_torch() -> None:
    """No second OpenMP library and no further threads, even if scikit-learn has loaded its own library."""
    code = """if True:
        import sklearn.cluster
        import os, pathlib, torch
        def libraries():
            maps = pathlib.Path("/proc/self/maps").read_text()
            names = {line.split()[-1].rsplit("/")[-1] for line in maps.splitlines()}
            libraries = {name for name in names if name.startswith(("libgomp", "libomp", "libiomp"))}
            return libraries, len(os.listdir("/proc/self/task"))
        torch.set_num_threads(2)
        torch.rand(2**20).exp_()
        before = libraries()
        from gradmeter.reading.kernels import _compiled, compiled
        x = torch.randn(8, 32, 16, 16)
        print(compiled.reason().partition(", ")[2])
        for variant in _compiled.variants():
            _compiled.select(variant)
            compiled.correlate(x, x, (3, 3), stride=(1, 1), dilation=(1, 1), padding=(1, 1))
            assert libraries() == before, (variant, libraries(), before)
    """
    assert _printed(code) == ["shares torch's OpenMP threads"]


@pytest.mark.slow
def test_the_gradients_are_never_stored() -> None:
    """Eight samples of 16 million entries would take half a gigabyte."""
    code = """if True:
        import resource, torch
        from gradmeter.reading.kernels import _compiled, compiled
        x = torch.randn(8, 4096, 2)
        for variant in _compiled.variants():
            _compiled.select(variant)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            compiled.correlate(x, x, (1,), stride=(1,), dilation=(1,), padding=(0,))
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    taken = [int(line) for line in _printed(code)]
    assert len(taken) == len(VARIANTS)
    assert max(taken) < 2**14
