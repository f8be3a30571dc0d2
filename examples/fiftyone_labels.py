"""Write the verdicts of `gradmeter judge` or `gradmeter evaluate` as labels that FiftyOne imports.

gradmeter judge trust test/ --out verdicts.parquet
python examples/fiftyone_labels.py verdicts.parquet --out labels.json

The verdicts of an evaluation are in judgements.parquet; --concept chooses one of its data sets, and --classes gives the
names of the classes. In FiftyOne:

    dataset = fo.Dataset.from_dir("test/", fo.types.ImageClassificationDirectoryTree, label_field="truth")
    dataset.merge_dir(
        dataset_type=fo.types.FiftyOneImageClassificationDataset,
        data_path="test/", labels_path="labels.json", label_field="gradmeter",
    )
"""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, dataset

from gradmeter.errors import GradmeterError
from gradmeter.trust.adapters.fiftyone import write_labels


def read(path: Path) -> pa.Table:
    """The table of a folder of Parquet files, or of a .parquet or .csv file."""
    if path.suffix != ".csv":
        return dataset.dataset(path, format="parquet").to_table()
    texts = {"id": "string", "prediction": "string"}
    options = csv.ConvertOptions(column_types=texts, strings_can_be_null=True, quoted_strings_can_be_null=False)
    return csv.read_csv(path, convert_options=options)


def main() -> None:
    """Read the table and write the labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verdicts", type=Path, help="a folder of Parquet files, or a .parquet or .csv file")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--concept", help="of an evaluation: the data set whose verdicts are written")
    parser.add_argument("--classes", nargs="+", help="names of the classes, if the verdicts have their numbers")
    arguments = parser.parse_args()
    try:
        verdicts = read(arguments.verdicts)
        if arguments.concept is not None:
            verdicts = verdicts.filter(pc.field("concept") == arguments.concept)
        count = write_labels(arguments.out, verdicts, arguments.classes)
    except (GradmeterError, OSError, pa.ArrowException) as error:
        parser.error(str(error))
    print(f"{arguments.out}: labels of {count:,} images")


if __name__ == "__main__":
    main()
