"""The server on this machine: verdicts are right, refusals are clear, and no response is lost."""

import gzip
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.serving.small import (
    ADDRESS,
    FAILING_SHADE,
    PORT,
    assert_right,
    command_line,
    png,
    post,
    processes,
    running,
    small_application,
    workers,
)
from gradmeter.errors import InputError
from gradmeter.trust.verdict_columns import VERDICT_COLUMNS
from gradmeter.version import __version__

ray = pytest.importorskip("ray", reason="the extra serve is not installed")
pytest.importorskip("ray.serve", reason="the extra serve is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from ray import serve  # noqa: E402

from gradmeter.apps.serving import Limits  # noqa: E402
from gradmeter.apps.serving import running as starting  # noqa: E402

LIMITS = {"largest": 20_000, "queue": 12, "batch": 4, "patience": 3}
# Ray leaves resources open and forks a process with threads, which would be errors here.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def server(cluster: object) -> Iterator[None]:
    with running(page=True, **LIMITS):
        yield


def test_a_verdict() -> None:
    answer = post(png(200))
    assert answer.status_code == 200
    assert [*answer.json()] == [*VERDICT_COLUMNS]
    assert answer.json()["prediction"] in ("0", "1", "2")
    assert_right(answer, 200)


def test_every_answer_is_of_its_own_image() -> None:
    """Images that cannot be read, or on which the network fails, do not affect others."""
    contents = [
        (shade, png(shade) if shade % 7 else b"no image") for shade in [*range(0, 200, 2), FAILING_SHADE, 202, 205]
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(lambda item: post(item[1]), contents)]
    for (shade, _), answer in zip(contents, answers, strict=True):
        if shade == FAILING_SHADE:
            assert answer.status_code == 500
            assert answer.json()["detail"].endswith("the network fails on it (ValueError: not this shade)")
        elif shade % 7:
            assert_right(answer, shade)
        else:
            assert answer.status_code == 400


@pytest.mark.parametrize(
    ("content", "code", "named"),
    [
        (b"", 400, "empty"),
        (b"hello", 400, "read"),
        (png(3)[:40], 400, "read"),
        (bytes(20_001), 413, "20,000 bytes"),
    ],
)
def test_bad_bodies_are_refused(content: bytes, code: int, named: str) -> None:
    answer = post(content)
    assert answer.status_code == code
    assert named in answer.json()["detail"]
    assert answer.json()["detail"].count("\n") == 0


def test_forms_are_refused() -> None:
    answer = httpx.post(f"{ADDRESS}/judge", files={"file": png(3)}, timeout=60)
    assert (answer.status_code, "form" in answer.json()["detail"]) == (415, True)


def test_json_is_refused_because_it_could_be_judged_as_a_text() -> None:
    answer = httpx.post(f"{ADDRESS}/judge", json={"text": "seven"}, timeout=60)
    assert (answer.status_code, "JSON" in answer.json()["detail"]) == (415, True)


def test_compressed_bodies_are_refused() -> None:
    answer = httpx.post(f"{ADDRESS}/judge", content=gzip.compress(png(3)), headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, "gzip" in answer.json()["detail"]) == (415, True)


def test_an_empty_encoding_is_none() -> None:
    answer = httpx.post(f"{ADDRESS}/judge", content=png(3), headers={"Content-Encoding": ""}, timeout=60)
    assert answer.status_code == 200


def test_senders_that_stall_keep_nobody_out() -> None:
    """There are more stalled senders than requests may wait."""
    with ExitStack() as stack:
        for _ in range(2 * LIMITS["queue"]):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=30))
            slow.sendall(b"POST /judge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        time.sleep(0.5)
        assert_right(post(png(200)), 200)
        assert httpx.get(f"{ADDRESS}/health", timeout=5).status_code == 200


def test_a_length_may_have_more_digits_than_python_reads() -> None:
    content = png(200)
    head = f"POST /judge HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content):05000}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as sender:
        sender.sendall(head.encode() + content)
        assert b"".join(iter(lambda: sender.recv(4096), b"")).startswith(b"HTTP/1.1 200 ")


def test_a_body_without_end_is_cut_off() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(10_000)

    try:
        answer = httpx.post(f"{ADDRESS}/judge", content=endless(), timeout=30)
    except (httpx.WriteError, httpx.ReadError):  # the server has closed the connection
        return
    assert answer.status_code == 413


def test_a_body_that_is_late_is_not_waited_for() -> None:
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as slow:
        slow.sendall(b"POST /judge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        received = b"".join(iter(lambda: slow.recv(4096), b""))
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"within 3 seconds" in received


def test_too_many_at_once_are_refused_and_the_others_answered() -> None:
    shades = [2 * number for number in range(120)]
    with ThreadPoolExecutor(60) as pool:
        answers = [*pool.map(lambda shade: post(png(shade)), shades)]
    codes = {answer.status_code for answer in answers}
    assert codes == {200, 503}
    for shade, answer in zip(shades, answers, strict=True):
        if answer.status_code == 200:
            assert_right(answer, shade)
        else:
            assert answer.headers["Retry-After"] == "1"
    assert post(png(5)).status_code == 200


def test_a_worker_that_is_killed_comes_back_and_no_answer_is_wrong() -> None:
    before = {process.pid for process in workers()}
    assert before
    codes, until, killed = [], time.monotonic() + 90, False
    with ThreadPoolExecutor(4) as pool:
        while time.monotonic() < until:
            shades = [10, 90, 170, 250]
            answers = [*pool.map(lambda shade: post(png(shade)), shades)]
            for shade, answer in zip(shades, answers, strict=True):
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    assert_right(answer, shade)
                codes.append(answer.status_code)
            if not killed and len(codes) > 20:
                for pid in before:
                    with suppress(ProcessLookupError):  # it may have ended already
                        os.kill(pid, signal.SIGKILL)
                killed = True
            elif killed and {process.pid for process in workers()} - before and codes[-8:] == [200] * 8:
                break
    assert {process.pid for process in workers()} - before
    assert codes[-8:] == [200] * 8


def test_the_process_that_takes_requests_does_not_load_pytorch() -> None:
    """It starts in half the time, and takes less memory."""
    (gate,) = [process for process in processes() if "gate" in " ".join(command_line(process))]
    (worker,) = workers()
    maps = [Path(f"/proc/{process.pid}/maps").read_text() for process in (gate, worker)]
    assert ["libtorch" in text for text in maps] == [False, True]


@pytest.mark.parametrize("path", ["/health", "/metrics", "/judge", "/openapi.json", "/nothing"])
def test_head_is_answered_as_get_without_the_body(path: str) -> None:
    with httpx.Client() as client:
        head, get = client.head(f"{ADDRESS}{path}"), client.get(f"{ADDRESS}{path}")
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


@pytest.mark.parametrize("path", ["/judge/", "/health/"])
def test_there_is_one_address_of_each_answer(path: str) -> None:
    """A redirect would lead out of the prefix of a proxy."""
    assert httpx.post(f"{ADDRESS}{path}", content=b"hello").status_code == 404


def test_health_and_metrics() -> None:
    assert httpx.get(f"{ADDRESS}/health").json() == {"status": "ok"}
    post(b"hello")
    metrics = httpx.get(f"{ADDRESS}/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'gradmeter_requests_total{code="400"}' in metrics.text
    assert "gradmeter_request_seconds_bucket" in metrics.text
    assert "gradmeter_waiting 0.0" in metrics.text


def test_a_server_is_healthy_once_its_network_is_loaded(tmp_path: Path) -> None:
    """A load balancer would send requests to it earlier, and each would wait for the network."""
    loaded = tmp_path / "loaded"

    def loaded_when_healthy() -> bool:
        while httpx.get(f"{ADDRESS}/late/health", timeout=60).status_code != 200:
            time.sleep(0.05)
        return loaded.exists()

    try:
        with ThreadPoolExecutor(1) as client:
            waiting = client.submit(loaded_when_healthy)
            serve.run(small_application(loaded=loaded), name="late", route_prefix="/late")
            assert waiting.result(timeout=60)
    finally:
        serve.delete("late")


def test_a_verdict_in_detail() -> None:
    answer = httpx.post(f"{ADDRESS}/judge/details", content=png(200), timeout=60)
    assert_right(answer, 200)
    details = answer.json()
    assert [*details] == [*VERDICT_COLUMNS, "probabilities", "layers", "server"]
    assert details["server"] == httpx.get(f"{ADDRESS}/model").json()["server"]
    assert sum(entry["probability"] for entry in details["probabilities"]) == pytest.approx(1)
    assert httpx.post(f"{ADDRESS}/judge/details", content=b"hello").status_code == 400
    assert httpx.post(f"{ADDRESS}/judge/details", content=bytes(20_001)).status_code == 413


def test_its_page() -> None:
    page = httpx.get(ADDRESS)
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert httpx.get(f"{ADDRESS}/model").json()["model"] == "small"


def test_its_documentation_needs_nothing_from_elsewhere() -> None:
    """Nor from the root of this host, because a proxy may serve it below a prefix."""
    page = httpx.get(f"{ADDRESS}/docs")
    assert page.status_code == 200
    sources = re.findall(r"""(?:src=|href=|url: )["'](.*?)["']""", page.text)
    assert "openapi.json" in sources
    assert not [source for source in sources if source.startswith(("http", "/"))]
    assert {httpx.get(f"{ADDRESS}/{source}").status_code for source in sources} == {200}
    assert httpx.get(f"{ADDRESS}/openapi.json").json()["servers"] == [{"url": "."}]


def test_it_keeps_to_its_own_description() -> None:
    """Every response to a generated request conforms to the OpenAPI schema, and none is an internal error."""
    from hypothesis import HealthCheck, settings

    schema = schemathesis.openapi.from_url(f"{ADDRESS}/openapi.json")
    assert schema.raw_schema["info"]["version"] == __version__
    # The schema cannot say which bytes are an image.
    valid_is_accepted = schemathesis.checks.CHECKS.get_one("positive_data_acceptance")
    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True)
        @schemathesis_given(operation)
        def answers(case: Any) -> None:
            case.call_and_validate(base_url=ADDRESS, excluded_checks=[valid_is_accepted])

        answers()


def schemathesis_given(operation: Any) -> Any:
    from hypothesis import given

    return given(case=operation.as_strategy())


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"queue": 0}, "queue=0"),
        ({"pixels": 0}, "pixels=0"),
        ({"patience": 0}, "patience=0"),
        ({"in_hand": 10**6}, "in_hand=1,000,000"),
    ],
)
def test_limits_with_which_no_request_could_be_answered(limits: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Limits(**limits)


def test_requests_in_progress_are_answered_before_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if SIGTERM comes before Ray says that the server runs; it lost them.

    This must be the last test, because the server then refuses all requests.
    """

    def run(*given: object, **options: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    monkeypatch.setattr(starting.ray_serve, "start", lambda **options: None)
    monkeypatch.setattr(starting.ray_serve, "run", run)
    with ThreadPoolExecutor(12) as pool:
        futures = [pool.submit(post, png(20 * number)) for number in range(12)]
        time.sleep(0.05)
        with pytest.raises(SystemExit):
            starting._started(None, "127.0.0.1", PORT)
        assert all(future.done() for future in futures if future.result().status_code == 200)
    for number, future in enumerate(futures):
        if future.result().status_code == 200:
            assert_right(future.result(), 20 * number)
        else:
            assert "stopping" in future.result().json()["detail"]
    assert any(future.result().status_code == 200 for future in futures)
    for answer in (post(png(3)), httpx.get(f"{ADDRESS}/health")):
        assert answer.status_code == 503
        assert "stopping" in answer.json()["detail"]
