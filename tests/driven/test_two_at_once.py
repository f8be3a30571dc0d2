"""Two commands with the same output at the same time: one succeeds, the other succeeds or names the first."""

import signal
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from driven.children import Child
from driven.judged import BAD_INPUT, DONE, INTERRUPTED, judge_ending, judge_files
from driven.test_kills import COMMANDS, end, fill, undisturbed
from driven.tiers import drive, tiers
from driven.workplace import workplace

pytestmark = pytest.mark.slow

SIGNALS = st.sampled_from([None, None, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
SECONDS = st.floats(0, 1.5).map(lambda seconds: round(seconds, 2))


@tiers(few=1, many=200, is_fast=False)
def test_two_at_once(cases: settings) -> None:
    def body(name: str, later: float, number: signal.Signals | None, after: float, fresh: bool) -> None:
        words = COMMANDS[name]
        others = (*words[:-1], b"--fresh", words[-1]) if fresh else words
        out = words[-1].partition(b"=")[2]
        with workplace() as place:
            fill(place)
            line = "gradmeter " + " ".join(word.decode() for word in words)
            kill = "" if number is None else f"; sleep {after}; kill -{number.name} %1"
            again = line.replace(" --out", " --fresh --out") if fresh else line
            place.lines.append(f"{line} & (sleep {later}; {again}) & {kill.removeprefix('; ') or 'true'}; wait")
            before = place.snapshot()
            first = Child(words, place.folder)
            time.sleep(later)
            second = Child(others, place.folder)
            if number is not None:
                time.sleep(after)
                first.kill(number)
            endings = [first.wait(), second.wait()]
            for ended in endings:
                if ended is not None and ended.code != INTERRUPTED:
                    judge_ending(ended, words)
            codes = [None if ended is None else ended.code for ended in endings]
            assert number is not None or DONE in codes, codes
            assert {*codes} <= {None, DONE, BAD_INPUT, INTERRUPTED}, codes
            judge_files(place, before, out, may_leave=None in codes)
            assert end(place, words) == undisturbed(name)

    drive(
        cases,
        body,
        name=st.sampled_from(sorted(COMMANDS)),
        later=SECONDS,
        number=SIGNALS,
        after=SECONDS,
        fresh=st.booleans(),
    )
