"""Log a TrustModel of `gradmeter fit` to MLflow, load it, and judge images with it.

gradmeter fit timm:resnet18 --weights mine.safetensors --known validation/ --out trust
python examples/mlflow_model.py trust image.png another.png

The run goes where MLFLOW_TRACKING_URI says.
"""

import argparse
from pathlib import Path

import mlflow

from gradmeter.apps.mlflow import log_model
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.errors import GradmeterError


def main() -> None:
    """Log, load, judge, and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trust", type=Path, help="the folder of a TrustModel")
    parser.add_argument("images", type=Path, nargs="+", help="image files to judge")
    parser.add_argument("--model", help="MODEL, if the TrustModel's network is made by a function of yours")
    parser.add_argument("--code", nargs="*", help="files of that function, to be saved with the model")
    arguments = parser.parse_args()
    if missing := [path for path in arguments.images if not path.is_file()]:
        parser.error(f"{missing[0]} is not a file; expected image files")
    try:
        trust, _ = open_trust(arguments.trust, model=arguments.model)
    except GradmeterError as error:
        parser.error(str(error))
    with mlflow.start_run():
        uri = log_model("judge", trust, code_paths=arguments.code).model_uri
    verdicts = mlflow.pyfunc.load_model(uri).predict([path.read_bytes() for path in arguments.images])
    print(verdicts.assign(image=[path.name for path in arguments.images]).set_index("image"))


if __name__ == "__main__":
    main()
