"""The server of `gradmeter serve` without gradients: what a load test compares with.

    python examples/softmax_server.py trust --port 8001

answers POST /judge as `gradmeter serve trust` does, but reads nothing of the network but its answer: P(correct) is the
softmax's probability, and nothing is accepted or rejected.
"""

import argparse
from pathlib import Path

import pyarrow as pa
import torch

from gradmeter.apps.serving import application, serve
from gradmeter.apps.workflows.judge import reader_of
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.errors import GradmeterError
from gradmeter.runs.measuring.loading import Batch
from gradmeter.runs.measuring.reader import Reader
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import decoder_for


class SoftmaxReader(Reader):
    """From samples to rows by one forward pass."""

    def rows(self, batch: Batch, device: str) -> tuple[Batch, pa.Table | None]:
        """Return the batch and its rows, None if no sample of it could be read."""
        if not batch.ids:
            return batch, None
        with torch.inference_mode():
            probability, predictions = self.classifier.network(batch.inputs.to(device)).softmax(1).max(1)
        columns = {"id": batch.ids, "prediction": _named(predictions.tolist(), self.classifier)}
        shares = probability.double().cpu().numpy()
        unknown = dict.fromkeys(("p_known", "p_correct_if_known", "accepted", "reason"), pa.nulls(len(batch.ids)))
        return batch, pa.table({**columns, "probability": shares, "p_correct": shares, **unknown})


def _named(predictions: list[int], classifier: Classifier) -> list[int] | list[str]:
    return predictions if classifier.classes is None else [classifier.classes[index] for index in predictions]


def main() -> None:
    """Read the arguments and answer until Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trust", type=Path)
    parser.add_argument("--port", type=int, default=8001)
    arguments = parser.parse_args()
    try:
        trust, classifier = open_trust(arguments.trust)
    except GradmeterError as error:
        parser.error(str(error))
    with_gradients = reader_of(trust, classifier)
    reader = SoftmaxReader(with_gradients.meter, classifier, with_gradients.tabulate)
    serve(application(reader, decoder_for(classifier.image)), "127.0.0.1", arguments.port, print)


if __name__ == "__main__":
    main()
