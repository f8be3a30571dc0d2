"""Settings of the test session (one thread, Ctrl-C, property tests without deadlines), a store of objects, and axe."""

import secrets
import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from pyarrow import fs

import gradmeter.runs.progress
from accessibility import axe_source

torch.set_num_threads(1)
# Lines of progress must not depend on how fast the machine is.
gradmeter.runs.progress.EVERY = 3600.0
settings.register_profile("gradmeter", deadline=None, max_examples=30, derandomize=True, database=None)
settings.load_profile("gradmeter")

# Background jobs of a shell ignore Ctrl-C, and commands started by tests would inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
