"""What the gate of the server, which does not load PyTorch, sends to its workers, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Question:
    """A sample to judge.

    Attributes:
        content: the content of a file, or of a text in UTF-8.
        detailed: whether to answer with the details of the prediction, too.
    """

    content: bytes
    detailed: bool = False


@dataclass(frozen=True)
class Refused:
    """Why a sample cannot be read or prepared for the network."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """Why there is no verdict on a sample that is prepared for the network."""

    reason: str


Answer = dict[str, Any] | Refused | Failed
"""The answer to a question: a row of `gradmeter.apps.workflows.judge`, or why there is none."""
