"""gradmeter demo: its errors, and when it opens a browser; tests/apps/serving/test_browser.py draws in it."""

import socket
import sys
import webbrowser
from pathlib import Path

import pytest

from gradmeter.apps.cli import demo, main


def test_a_port_in_use_is_reported_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray.serve", reason="the extra serve is not installed")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["gradmeter", "demo", "--port", str(port)])
        with pytest.raises(SystemExit) as caught:
            main()
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert str(port) in output.err
    assert output.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_demo_is_to_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is that of another command, whose advice does not help."""
    pytest.importorskip("ray.serve", reason="the extra serve is not installed")
    module = pytest.importorskip("gradmeter.research.demo", reason="the extra demo is not installed")
    monkeypatch.setattr(module, "make_demo", lambda folder, study, work: module.DemoStore(folder))
    monkeypatch.setattr(sys, "argv", ["gradmeter", "demo", "--out", str(tmp_path), "--port", "8499", "--quiet"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert str(tmp_path) in error
    assert "--fresh" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("controller", "opens"),
    [
        (webbrowser.GenericBrowser("lynx"), False),
        (webbrowser.BackgroundBrowser("xdg-open"), True),
        (webbrowser.Chrome("chrome"), True),
    ],
)
def test_only_a_browser_with_a_window_is_opened(
    controller: webbrowser.BaseBrowser, opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that runs in the terminal would take it over."""
    monkeypatch.setattr(webbrowser, "get", lambda: controller)
    assert demo._opens_window() == opens


def test_without_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    def get() -> webbrowser.BaseBrowser:
        raise webbrowser.Error

    monkeypatch.setattr(webbrowser, "get", get)
    assert not demo._opens_window()
