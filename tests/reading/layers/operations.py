"""Autograd's operations that can join a parameter to data, derived from PyTorch's own list of derivatives.

`python tests/reading/layers/operations.py` prints the table of docs/engine.md for the PyTorch that is installed.
"""

import re
from pathlib import Path

import torchgen
from torchgen.packaged.autograd.load_derivatives import load_derivatives

from gradmeter.reading.layers import measured_operations

PAGE = Path(__file__).parents[3] / "docs" / "engine.md"

RULE, ENTRIES, SAMPLES = "a rule of its own", "entry by entry", "sample by sample"
KEPT_OUT, REFUSED = "kept out: cuDNN is off for recurrent layers", "refused: it mixes the samples"
WAYS = (RULE, ENTRIES, SAMPLES, KEPT_OUT, REFUSED)

_OTHERWISE = {
    "BatchNormWithUpdateBackward0": REFUSED,
    "NativeBatchNormLegitBackward1": REFUSED,
    "CudnnRnnBackward0": KEPT_OUT,
    "MiopenRnnBackward0": KEPT_OUT,
}
# Second derivatives, and operations of optimisers and nested tensors, which no forward pass records.
_ELSEWHERE = re.compile(
    r"BackwardBackward\d|BackwardOverrideableBackward\d|BackwardDataBackward\d|^Foreach|^Nested|_copy$"
)


def ways() -> dict[str, str]:
    """The way of every operation with a derivative with respect to one of several tensors, by name."""
    packaged = Path(torchgen.__file__).parent / "packaged"
    native = packaged / "ATen" / "native"
    derivatives, _ = load_derivatives(
        str(packaged / "autograd" / "derivatives.yaml"),
        str(native / "native_functions.yaml"),
        str(native / "tags.yaml"),
    )
    by_name: dict[str, str] = {}
    for infos in derivatives.values():
        for info in infos.values():
            tensors = [argument for argument in info.func.func.arguments.flat_non_out if argument.type.is_tensor_like()]
            joins = len(tensors) > 1 or any(tensor.type.is_list_like() for tensor in tensors)
            name = info.op
            if name is None or not info.derivatives or not any(info.output_differentiability or [True]):
                continue
            if _ELSEWHERE.search(name):
                continue
            if name in measured_operations():
                by_name[name] = RULE
            elif joins:
                by_name[name] = _OTHERWISE.get(name, ENTRIES if "pointwise" in info.func.tags else SAMPLES)
    return by_name


def table(by_name: dict[str, str]) -> str:
    """A Markdown table with a row for each way; operations are listed without the word Backward."""
    rows = ["| way | operations |", "|:--|:--|"]
    for way in WAYS:
        names = sorted(name for name, other in by_name.items() if other == way)
        rows.append(f"| {way} | {', '.join(names)} |")
    return "\n".join(rows)


def documented() -> dict[str, str]:
    """The ways in docs/engine.md, by name of the operation."""
    rows = re.findall(r"^\| (.+?) \| (\w+Backward\w*(?:, \w+Backward\w*)*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {name: way for way, names in rows for name in names.split(", ")}


if __name__ == "__main__":
    print(table(ways()))
