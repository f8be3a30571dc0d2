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

import pyarrow.compute as pc
from pyarrow import csv, dataset

from gradmeter.trust.adapters.fiftyone import write_labels


def main() -> None:
    """Read the table and write the labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verdicts", type=Path, help="a folder of Parquet files, or a .parquet or .csv file")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--concept", help="of an evaluation: the data set whose verdicts are written")
    parser.add_argument("--classes", nargs="+", help="names of the classes, if the verdicts have their numbers")
    arguments = parser.parse_args()
    if arguments.verdicts.suffix == ".csv":
        texts = {"id": "string", "prediction": "string"}
        options = csv.ConvertOptions(column_types=texts, strings_can_be_null=True, quoted_strings_can_be_null=False)
        verdicts = csv.read_csv(arguments.verdicts, convert_options=options)
    else:
        verdicts = dataset.dataset(arguments.verdicts, format="parquet").to_table()
    if arguments.concept is not None:
        verdicts = verdicts.filter(pc.field("concept") == arguments.concept)
    count = write_labels(arguments.out, verdicts, arguments.classes)
    print(f"{arguments.out}: labels of {count:,} images")


if __name__ == "__main__":
    main()
