"""Random combinations of valid and invalid options for every command that reads DATA."""

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st

from driven.judged import judge_ending, judge_files
from driven.names import names
from driven.tiers import drive, tiers
from driven.workplace import FIT, IMAGES, MODEL, NAMED, workplace

pytestmark = pytest.mark.slow

NUMBERS = ["0", "1", "8", "-1", "0.5", "1e9", "1e-300", "nan", "inf", "-inf", "x", "", " ", "0x8", "1_0", "٣", "9" * 30]
PATHS = ["", ".", "..", "known", "known/5", "known/5/0.png", "weights.safetensors", "driven_network.py", "/dev/null"]
PATHS += [
    "trust",
    "trust/trust.json",
    "nowhere/x",
    "s3://",
    "file:///",
    "noise:uniform:9",
    "noise:uniform",
    "noise:x:3",
]
PATHS += ["noise:normal:0", "mine", "mine.csv", "known/out", "weights.safetensors/x", "mine.json", "~", "-"]
WORDS = ["known", "a,b", "0,1,2,3,4,5,6,7,8,9", "0,0,0,0,0,0,0,0,0,0", ",", "driven_network.py", "[red],x", ":x:"]
MODELS = [
    "driven_network:network",
    "driven_network:nothing",
    "driven_network",
    "timm:nosuch:x",
    "hf:known",
    "json:loads",
]
KINDS = {
    "--image-size": NUMBERS,
    "--mean": [*NUMBERS, "0.5,0.5,0.5", "1,2"],
    "--std": [*NUMBERS, "0.5,0.5,0.5", "1,2"],
    "--classes": WORDS,
    "--weights": PATHS,
    "--device": ["cpu", "cuda", "cuda:99", "meta", "mps", "x", "", "cpu:7"],
    "--engine": ["local", "x", ""],
    "--workers": ["-1", "x", "0", ""],
    "--risk": NUMBERS,
    "--confidence": NUMBERS,
    "--least-probability": NUMBERS,
    "--coverage-tolerance": NUMBERS,
    "--repetitions": ["100", "99", "-5", "x"],
    "--classifier": ["ridge", "lasso", "gradmeter", "nosuch", ""],
    "--known": PATHS,
    "--unknown": PATHS,
    "--model": MODELS,
}
FLAGS = ["--json", "--fresh", "--grey", "--labels", "--no-labels", "--nosuch", "--help", "--version"]
VALID = {
    "measure": (*MODEL, b"known", *IMAGES),
    "judge": (b"trust", b"known", *NAMED),
    "fit": (*FIT[1:], b"--known=known", b"--unknown=noise:uniform:20"),
    "evaluate": (b"trust", b"--known=known", *NAMED, b"--repetitions=100"),
    "info": (),
}
paths = st.sampled_from(PATHS).map(str.encode) | names
# Not the root of this machine: as root, the command could write there.
outputs = paths.filter(lambda word: word != b"file:///")
# Surplus arguments that do not change the output.
surplus = paths.filter(lambda word: not word.startswith((b"-o", b"--out")))
options = st.sampled_from(sorted(KINDS)).flatmap(
    lambda name: st.sampled_from(KINDS[name]).map(lambda value: f"{name}={value}".encode())
)
flags = st.sampled_from(FLAGS).map(str.encode)


@tiers(few=8, many=800)
def test_options(cases: settings) -> None:
    def body(command: str, out: bytes, more: list[bytes]) -> None:
        with workplace() as place:
            place.write(b"mine.csv", b"id,label\n")
            place.make_folder(b"mine")
            place.write(b"mine/notes.txt", b"mine\n")
            target = () if command == "info" else (b"--out=" + out,)
            given = {word.partition(b"=")[0] for word in more if word.startswith(b"--") and b"unknown" not in word}
            # An option in `more` replaces that of the command: given twice, it would be refused at once.
            valid = [word for word in VALID[command] if word.partition(b"=")[0] not in given]
            words = [command.encode(), *valid, *target, *more]
            before = place.snapshot()
            ended = place.type(words)
            event(f"{command}: {ended.code}")
            judge_ending(ended, words)
            judge_files(place, before, out if target else None)

    drive(
        cases,
        body,
        command=st.sampled_from(sorted(VALID)),
        out=outputs,
        more=st.lists(options | flags | surplus, max_size=4),
    )
