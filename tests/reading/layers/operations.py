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
# Derivatives of derivatives, and what optimisers and nested tensors use: no network's forward pass records them.
_ELSEWHERE = re.compile(
    r"BackwardBackward\d|BackwardOverrideableBackward\d|BackwardDataBackward\d|^Foreach|^Nested|_copy$"
)


def ways() -> dict[str, str]:
    """{operation: way} of every operation with a derivative by one of several tensors."""
    packaged = Path(torchgen.__file__).parent / "packaged"
    native = packaged / "ATen" / "native"
    derivatives, _ = load_derivatives(
        str(packaged / "autograd" / "derivatives.yaml"),
        str(native / "native_functions.yaml"),
        str(native / "tags.yaml"),
    )
    found: dict[str, str] = {}
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
                found[name] = RULE
            elif joins:
                found[name] = _OTHERWISE.get(name, ENTRIES if "pointwise" in info.func.tags else SAMPLES)
    return found


def table(found: dict[str, str]) -> str:
    """Markdown: a row for each way, its operations without the word Backward."""
    rows = ["| way | operations |", "|:--|:--|"]
    for way in WAYS:
        names = sorted(name for name, its in found.items() if its == way)
        rows.append(f"| {way} | {', '.join(names)} |")
    return "\n".join(rows)


def documented() -> dict[str, str]:
    """{operation: way} as docs/engine.md has it."""
    rows = re.findall(r"^\| (.+?) \| (\w+Backward\w*(?:, \w+Backward\w*)*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {name: way for way, names in rows for name in names.split(", ")}


if __name__ == "__main__":
    print(table(ways()))
