"""Build the page that judges drawings in the browser: docs/demo/build.py OUT.

It trains the network of `gradmeter demo` on the embedded digits, fits a TrustModel that reads the forward pass, writes
both to OUT/judged.onnx, and adds the page and onnxruntime-web, which npm fetches. Any host of static files can show
OUT. Neither the model nor onnxruntime-web (14 MB) is in the repository: both follow from it.

Needs gradmeter[demo,onnx] and npm. What was trained and fetched before is kept in WORK.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import onnx

from gradmeter.apps.onnx.exporting import export
from gradmeter.apps.workflows.fit import fit
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.files import atomic_write, write_text
from gradmeter.research.demo import MODEL, RISK, make_demo, recipe_of
from gradmeter.runs.measuring import Work
from gradmeter.trust.reads import FORWARD

HERE = Path(__file__).resolve().parent
# The sketch pad and the view are those of `gradmeter serve`.
SERVED = HERE.parents[1] / "src/gradmeter/apps/serving/static"
SHARED = ("digit.js", "pad.js", "view.js", "words.js", "page.css", "icon.svg")
PAGE = ("index.html", "demo.js")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def add_model(out: Path, work: Path) -> None:
    """Write judged.onnx, and what it says about itself to judged.json: onnxruntime-web does not show it."""
    store = make_demo(work / "demo", Path("runs/embedded"), Work())
    trust = work / "forward"
    fit(recipe_of(store), str(store.validation), [], trust, reads=FORWARD, risk=RISK, repetitions=100, work=Work())
    opened, classifier = open_trust(trust, model=MODEL, weights=store.network)
    export(opened, classifier, out / "judged.onnx")
    properties = {entry.key: entry.value for entry in onnx.load(out / "judged.onnx").metadata_props}
    write_text(out / "judged.json", json.dumps(properties, indent=1) + "\n")


def add_runtime(out: Path, work: Path) -> None:
    """Add the files of onnxruntime-web that the page loads, in the version of package.json."""
    version = json.loads((HERE / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    archive = work / f"onnxruntime-web-{version}.tgz"
    if not archive.exists():
        work.mkdir(parents=True, exist_ok=True)
        name = f"onnxruntime-web@{version}"
        subprocess.run(["npm", "pack", name, "--silent", "--pack-destination", str(work)], check=True)
    with tarfile.open(archive) as packed:
        for name in RUNTIME:
            member = packed.extractfile(f"package/dist/{name}")
            assert member is not None
            with atomic_write(out / name) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(member, file)


def add_page(out: Path) -> None:
    """Copy the page and what it shares with the server's page."""
    for folder, names in ((HERE, PAGE), (SERVED, SHARED)):
        for name in names:
            shutil.copyfile(folder / name, out / name)


def main() -> None:
    """Build the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the page")
    parser.add_argument("--work", type=Path, default=Path("runs/page"), help="folder of the network and the downloads")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    add_page(options.out)
    add_runtime(options.out, options.work)
    add_model(options.out, options.work)
    print(f"Built {options.out}. Try it: python -m http.server --directory {options.out}")


if __name__ == "__main__":
    main()
