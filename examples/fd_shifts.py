"""Write the files that the analysis of FD-Shifts reads, from a TrustModel and readings of several data sets.

    gradmeter fit MODEL --known validation --out trust
    gradmeter measure MODEL validation-2 --out validation-2.parquet
    gradmeter measure MODEL test --out test.parquet
    gradmeter measure MODEL svhn --no-labels --out svhn.parquet
    python examples/fd_shifts.py trust validation-2.parquet test.parquet svhn.parquet --out EXPERIMENT/test_results

The readings come in the order of FD-Shifts' data sets, the validation set first; it must not be the data of the fit.
With --beside, only the scores are written, beside the outputs that FD-Shifts wrote for the same samples.
"""

import argparse
from pathlib import Path

import pyarrow as pa

from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.errors import GradmeterError
from gradmeter.runs.measuring import MeasuredSet
from gradmeter.trust.adapters.fd_shifts import write_confidences, write_outputs


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description="Write gradmeter's scores for the analysis of FD-Shifts.")
    parser.add_argument("trust", type=Path, help="folder of the TrustModel")
    parser.add_argument("readings", nargs="+", help="folders of readings, in the order of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder test_results of the experiment")
    parser.add_argument("--score", default="p_correct", help="p_correct, p_known or p_correct_if_known")
    parser.add_argument("--model", help="the network, if it is a function of yours")
    parser.add_argument("--beside", action="store_true", help="keep the outputs that are in --out")
    arguments = parser.parse_args()
    write = write_confidences if arguments.beside else write_outputs
    try:
        trust, _ = open_trust(arguments.trust, model=arguments.model)
        tables = [pa.concat_tables(MeasuredSet(folder).tables()) for folder in arguments.readings]
        outputs = write(arguments.out, trust, tables, score=arguments.score)
    except GradmeterError as error:
        parser.error(str(error))
    print(f"Wrote {arguments.score} of {len(outputs.labels):,} samples of {len(tables)} data sets to {arguments.out}.")


if __name__ == "__main__":
    main()
