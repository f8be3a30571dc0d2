"""Fitted estimators in skops files, loaded without types that may run code or read outside their arrays."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sklearn
from sklearn.exceptions import InconsistentVersionWarning

from gradmeter.errors import DataError, InputError, one_line, warn

# skops allows these types, but libsvm, which computes their predictions, reads as many support vectors as one array
# says from another, without looking at its length.
_UNBOUNDED = frozenset(f"sklearn.svm._classes.{name}" for name in ("SVC", "NuSVC", "SVR", "NuSVR", "OneClassSVM"))


def dump_estimator(estimator: Any) -> bytes:
    """Encode an estimator for `load_estimators`.

    Raises:
        InputError: if skops could not write it, or not read it again: it stores functions by their names only.
    """
    import skops.io  # takes two thirds of a second

    try:
        encoded: bytes = skops.io.dumps(estimator)
        skops.io.loads(encoded, trusted=skops.io.get_untrusted_types(data=encoded))
    except Exception as error:  # parts of a stranger's estimator may raise anything
        raise InputError(
            f"the meta classifier could not be loaded again ({type(error).__name__}: {one_line(error)}); expected "
            "parts that skops can store, and functions and classes of a module: give a lambda a name, for example"
        ) from error
    return encoded


def load_estimators(path: Path, encoded: bytes, trusted: Iterable[str], kind: str) -> Any:
    """Load what skops wrote.

    Args:
        path: of the file, for messages.
        encoded: its content.
        trusted: full names of the types that are allowed beyond those that skops knows.
        kind: the class that is loaded, for messages.

    Raises:
        DataError: if the file holds other types.
    """
    import skops.io  # takes two thirds of a second

    allowed = set(trusted)
    unknown = [*skops.io.get_untrusted_types(data=encoded), *sorted(_UNBOUNDED & {*type_names(encoded)})]
    if refused := [name for name in unknown if name not in allowed]:
        raise DataError(
            f"{path} holds {', '.join(refused)}, which may run arbitrary code or crash; if you trust the origin of the "
            f"folder, name these types in {kind}.load(..., trusted=[...])"
        )
    if others := sorted(_versions(encoded) - {sklearn.__version__}):
        warn(
            f"{path} was written with scikit-learn {', '.join(others)} and is read with {sklearn.__version__}; if "
            f"P(correct) differs, install that version or fit the {kind} again"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)  # one for each estimator
        return skops.io.loads(encoded, trusted=sorted(allowed))


def type_names(encoded: bytes) -> Iterator[str]:
    """Return the full names of all types in a skops file, without loading them."""
    for node in _nodes(encoded):
        yield f"{node.get('__module__')}.{node.get('__class__')}"


def _versions(encoded: bytes) -> set[str]:
    """The versions of scikit-learn with which the estimators in a skops file were written."""
    return {json.loads(node["_sklearn_version"]["content"]) for node in _nodes(encoded) if "_sklearn_version" in node}


def _nodes(encoded: bytes) -> Iterator[dict[str, Any]]:
    """All objects in the schema of a skops file."""
    with zipfile.ZipFile(io.BytesIO(encoded)) as archive:
        nodes = [json.loads(archive.read("schema.json"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            yield node
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
