"""What codes of bundles know of the class of MNIST's grey digits: linear probes in one table.

    python -m verify.linear_probes bundles/mnist-pca bundles/mnist-autoencoder --data-root FOLDER

Share of `--rows` test digits named rightly by logistic regression on the latents of as many
training digits, the same digits for all bundles; pixels themselves stand first.
"""

import argparse
from pathlib import Path

import torch

from models.bundle import load_bundle
from training.batches import Rows, columns_of, schema_of
from training.data.registry import load_data
from training.representation import Labelled, labelled, linear_probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=5000)
    arguments = parser.parse_args()
    data = load_data("mnist", {"variant": "grey"}, arguments.data_root)
    schema = schema_of(data)
    splits = [data.train, data.test]
    rows = [Rows(split.values, None, redraw=False) for split in splits]
    columns = [columns_of(split) for split in splits]
    encoded = [schema.encode_columns(each) for each in columns]
    print("| codes | numbers | accuracy |")
    print("|---|---|---|")
    count = arguments.rows
    pixels = [
        Labelled(each.batch(slice(0, count), None, torch.device("cpu")).x, y[:count])
        for each, y in zip(rows, encoded, strict=True)
    ]
    for name, codes in (("pixels", pixels), *((path.name, path) for path in arguments.bundle)):
        if isinstance(codes, Path):
            model = load_bundle(codes).model
            codes = [
                labelled(model, each, y, count, 1, torch.device("cpu"))
                for each, y in zip(rows, encoded, strict=True)
            ]
        (found,) = linear_probe(*codes, schema)
        print(f"| {name} | {codes[0].z[0].numel()} | {found.value:.4f} |", flush=True)


if __name__ == "__main__":
    main()
