"""The commands of the README run; every command and option that a page names exists."""

import json
import re
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
import typer
from PIL import Image
from safetensors.torch import save_file

import forked
from apps.cli.commands import ENVIRONMENT
from apps.cli.quick import quick_main
from docs.code import ROOT, blocks
from gradmeter.apps.cli.commands import app

pytestmark = pytest.mark.slow

PAGES = ["README.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def test_the_readme_s_commands(tmp_path: Path) -> None:
    """Run them on random images and a network that predicts "cat" for nearly all of them."""
    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=2)
    network.fc.bias.data[0] += 1
    save_file(network.state_dict(), tmp_path / "mine.safetensors", metadata={"classes": json.dumps(["cat", "dog"])})
    for name, count in (("validation/cat", 130), ("validation/dog", 12), ("test/cat", 6), ("test/dog", 6)):
        write(tmp_path / name, count)
    write(tmp_path / "holiday-photos", 6)
    write(tmp_path / "inbox", 6)
    lines = [line for language, text in blocks("README.md") if language == "sh" for line in text.splitlines()]
    lines = [line for line in lines if line.startswith("gradmeter ")]
    assert [line.split()[1] for line in lines] == ["fit", "evaluate", "judge"]
    for line in lines:
        # A thousand large images of noise would take minutes.
        line = line.replace("noise:uniform", "noise:uniform:12 --image-size 32 --reads forward --repetitions 100")
        arguments = shlex.split(line)[1:]
        finished = forked.run(quick_main, arguments, cwd=tmp_path, env=ENVIRONMENT)
        # So few images are not enough for a risk guarantee: exit code 1.
        assert finished.returncode == (1 if arguments[0] == "fit" else 0), finished.stderr
    assert (tmp_path / "evaluation/report.html").is_file()
    assert (tmp_path / "verdicts.parquet").is_dir()


def write(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    # Another seed for each folder, so that no image is in two of them.
    generator = torch.Generator().manual_seed(zlib.crc32(folder.name.encode()))
    for number in range(count):
        pixels = torch.randint(0, 256, (40, 50, 3), generator=generator).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")


def all_commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """The commands by name; those of a group as "group command"."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        yield name, command
        for inner, of_group in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", of_group


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    options = {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in all_commands()
    }
    in_blocks = [line for language, text in blocks(page) if language == "sh" for line in re.split(r"\n|&& ", text)]
    spans = re.findall(r"`([^`\n]+)`", (ROOT / page).read_text())
    for line in [*in_blocks, *(command for span in spans for command in span.split("&& "))]:
        if not line.startswith("gradmeter "):
            continue
        _, name, *arguments = shlex.split(line, comments=True)
        if arguments and f"{name} {arguments[0]}" in options:
            name = f"{name} {arguments.pop(0)}"
        assert name in options, line
        used = {argument.partition("=")[0] for argument in arguments if argument.startswith("-")}
        assert used <= options[name] | {"--help"}, f"{line}: {used - options[name]}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_options_that_stand_alone_exist(page: str) -> None:
    """As in "`--risk 0.02` keeps a half": options of a command, or of a script in examples."""
    parameters = [parameter for _, command in all_commands() for parameter in command.params]
    options = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    for script in (ROOT / "examples").glob("*.py"):
        options |= {*re.findall(r'"(--[\w-]+)"', script.read_text())}
    outside = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    used = [option for span in re.findall(r"`(--[^`]+)`", outside) for option in re.findall(r"--[\w-]+", span)]
    assert {*used} <= options
