"""All cases of all subjects, and the correction for their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gradmeter.research.gradient_gain.gains import ADDS, AUROC, Gain, holm
from gradmeter.research.gradient_gain.groups import GROUPS, group_of
from gradmeter.research.gradient_gain.judges import CLASSIFIERS
from gradmeter.research.gradient_gain.results import Measures, SubjectResults
from gradmeter.research.gradient_gain.scored import SOFTMAX, method
from gradmeter.research.gradient_gain.subjects import SUBJECTS
from gradmeter.research.gradient_gain.variants import FORWARD, GRADIENTS

SIGNIFICANT = 0.05
_CHANCE = 50.0  # percent, the AUROC of a score that says nothing


@dataclass(frozen=True)
class Row:
    """A case of a subject.

    Attributes:
        subject: a name in `SUBJECTS`.
        case: name of the case.
        measures: of all methods.
    """

    subject: str
    case: str
    measures: Measures

    @property
    def group(self) -> str:
        """The section to which the case belongs."""
        return group_of(SUBJECTS[self.subject].group, self.case)

    @property
    def name(self) -> str:
        """The network and the case."""
        return f"{SUBJECTS[self.subject].title}: {self.case}"

    def value(self, name: str, measure: str = AUROC) -> float:
        """Return a measure of a method, in percent."""
        return 100 * self.measures.values[measure][name]

    @property
    def best_forward(self) -> float:
        """The best AUROC without gradients, of the softmax and of both classifiers, in percent."""
        return max(self.value(SOFTMAX), *(self.value(method(classifier, FORWARD)) for classifier in CLASSIFIERS))

    def pays(self, classifier: str) -> bool:
        """Return whether gradients add, and lead beyond the best score without gradients and beyond chance."""
        beyond = self.value(method(classifier, GRADIENTS)) > max(self.best_forward, _CHANCE)
        return beyond and self.gain(classifier).verdict == ADDS

    def gain(self, classifier: str, variant: str = GRADIENTS, measure: str = AUROC) -> Gain:
        """Return what a variant adds to the forward pass."""
        return self.measures.gains[measure][method(classifier, variant)]


class Table:
    """All cases of all subjects, and the correction for their number.

    Args:
        results: the results by subject.
    """

    def __init__(self, results: Mapping[str, SubjectResults]) -> None:
        rows = [
            Row(name, case, measures) for name, result in results.items() for case, measures in result.cases.items()
        ]
        self.rows = sorted(rows, key=lambda row: GROUPS.index(row.group))

    @cached_property
    def _adjusted(self) -> dict[tuple[str, str, str], float]:
        keys = [(classifier, row.subject, row.case) for classifier in CLASSIFIERS for row in self.rows]
        gains = [row.gain(classifier) for classifier in CLASSIFIERS for row in self.rows]
        return dict(zip(keys, holm([gain.p for gain in gains]), strict=True))

    @property
    def comparisons(self) -> int:
        """The number of comparisons that Holm's method corrects for."""
        return len(self._adjusted)

    def is_significant(self, row: Row, classifier: str) -> bool:
        """Return whether a gain or loss of AUROC remains after the correction."""
        return self._adjusted[classifier, row.subject, row.case] < SIGNIFICANT
