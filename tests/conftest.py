"""Settings of the test session (one thread, Ctrl-C, property tests without deadlines), a cluster, a store, and axe."""

import gc
import os
import re
import secrets
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from pyarrow import fs
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import gradmeter.runs.progress
from accessibility import axe_source
from trust.quick import fit_quickly

torch.set_num_threads(1)
# By default Ray's workers give way to all other processes, so that they would wait until the other tests end.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray spells it so
# Lines of progress must not depend on how fast the machine is.
gradmeter.runs.progress.EVERY = 3600.0
settings.register_profile("gradmeter", deadline=None, max_examples=30, derandomize=True, database=None)
settings.load_profile("gradmeter")

# Background jobs of a shell ignore Ctrl-C, and commands started by tests would inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)


# The files of the tests with the fixture `cluster`, which one process runs, one after the other.
ON_RAY = (
    "apps/cli/test_reproduce.py",
    "apps/cli/test_on_ray.py",
    "runs/measuring/test_on_ray.py",
    "runs/engines/test_ray.py",
    "apps/workflows/test_labels_on_ray.py",
    "apps/cli/test_trust.py",
    "apps/serving/test_serving.py",
    "apps/serving/test_bombs.py",
)
# The files that need the same exported network, whose fit and export take ten seconds.
ON_ONNX = ("apps/onnx/test_export.py", "apps/onnx/test_web.py")
# The files of the longest tests, longest first: started last, they would keep one core busy while the others wait.
LONGEST = (
    *ON_RAY,
    "apps/serving/test_browser.py",
    *ON_ONNX,
    "docs/test_guide.py",
    "docs/test_adapters.py",
    "research/study/report/test_browser.py",
    "research/ood_benchmark/real/test_compare.py",
    "research/ood_benchmark/test_benchmark.py",
    "apps/onnx/test_commands.py",
    "research/gradient_gain/test_experiment.py",
    "apps/cli/test_measure.py",
    "research/speed_benchmark/test_run.py",
    "research/label_study/test_study.py",
    "research/street/test_study.py",
    "apps/workflows/test_fit.py",
    "apps/workflows/test_side_by_side.py",
    "trust/test_trust.py",
    "reading/architectures/test_table.py",
    "trust/test_judge.py",
    "trust/test_two_heads.py",
    "trust/traced/test_judged.py",
    "research/ood_benchmark/test_detectors.py",
    "trust/test_risk.py",
)
SHARING = {Path(__file__).parent / name for name in ON_RAY}
_IS_SLOW = re.compile(r"^pytestmark = .*\bmark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files without fast tests in `pytest -m "not slow"`: the libraries that they import load for many seconds."""
    if "not slow" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    return True if _IS_SLOW.search(collection_path.read_text()) else None


class OneProcessForEach(LoadFileScheduling):
    """Gives the tests of a file to one process, and those of all files in `ON_RAY` or in `ON_ONNX`."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return next((files[0] for files in (ON_RAY, ON_ONNX) if file.endswith(files)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Distribute the tests over processes."""
    return OneProcessForEach(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files in `LONGEST`."""
    rank = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish() -> None:
    """Exempt all imported modules and collected tests from garbage collection: many tests and benchmarks call it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def quick_fits() -> Iterator[None]:
    """Make the fits of the tests of a file small; see `trust.quick`."""
    with pytest.MonkeyPatch.context() as patch:
        fit_quickly(patch)
        yield


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """A Ray cluster with two cores on this machine, which this process has joined, and the environment to join it.

    As Ray does by default since 2.60, it asks for a token. Its workers can import modules of the tests. The tests of
    the files in `ON_RAY` share it, because its start and that of each worker take seconds.
    """
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    if not ray.is_initialized():
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        ray.init(
            address="local",  # otherwise it would join a cluster that runs on this machine
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"PYTHONPATH": paths}},
        )
    return {"RAY_AUTH_MODE": "token", "RAY_ADDRESS": ray.get_runtime_context().gcs_address}


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the cluster after the last of the files that share it."""
    goes_on = nextitem is not None and (nextitem.path == item.path or nextitem.path in SHARING)
    if not goes_on and item.path in SHARING and "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which finds faults of accessibility; see `accessibility.grave_faults`."""
    return axe_source(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="session")
def store_server() -> Iterator[str]:
    """The host and port of an S3 server in this process."""
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(store_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, as an address whose placeholder takes a path. Credentials are in the environment, as usual."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "two")
    name = f"bucket-{secrets.token_hex(8)}"
    options = f"endpoint_override={store_server}&scheme=http&region=us-east-1&allow_bucket_creation=true"
    store, path = fs.FileSystem.from_uri(f"s3://{name}?{options}")
    store.create_dir(path)
    return f"s3://{name}/{{}}?{options}"
