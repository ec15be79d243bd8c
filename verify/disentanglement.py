"""How far bundles' latents are the factors that drawn shapes were made of: MIG and DCI.

    python -m verify.disentanglement bundles/shapes-beta-vae bundles/shapes-beta-tcvae

Shapes are drawn anew, under a seed that no recipe has, as large and as binary as each bundle's own;
codes are posterior means. Shape counts as names, the four others as numbers; the orientation of
squares and ellipses is not wholly in the picture, which keeps every model below 1.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from metrics.disentanglement_completeness_informativeness import (
    disentanglement_completeness_informativeness,
)
from metrics.mutual_information_gap import mutual_information_gap
from models.bundle import Description, load_bundle
from models.conditions import Categorical
from training.batches import binarized
from training.data.registry import load_data
from training.recipe import Data

SEED = 2_000_003


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--rows", type=int, default=10_000)
    arguments = parser.parse_args()
    head = "| bundle | rows | MIG | disentanglement | completeness | informativeness |"
    for path in arguments.bundle:
        bundle = load_bundle(path)
        x, factors, categorical, names = drawn(bundle.description, arguments.rows)
        with torch.no_grad():
            codes = torch.cat([bundle.model.encode(part).mean for part in x.split(100)])
        gap = mutual_information_gap(codes, factors)
        dci = disentanglement_completeness_informativeness(codes, factors, categorical)
        if path == arguments.bundle[0]:
            print(head, *(f" MIG of {name} |" for name in names), sep="")
            print("|---|", "---|" * (5 + len(names)), sep="")
        numbers = [gap.mean, *dci[:3], *gap.of_factors.tolist()]
        row = " | ".join(f"{each:.3f}" for each in numbers)
        print(f"| {path.name} | {len(x)} | {row} |", flush=True)


def drawn(description: Description, rows: int) -> tuple[Tensor, Tensor, list[bool], list[str]]:
    """Shapes (rows, 1, size, size) as a bundle's recipe has them, their factors (rows, 5), and of
    each factor whether it is of names, and what it is called."""
    own = Data.model_validate(description.provenance.settings["data"])
    options = {"size": description.shape[1], "count": rows, "seed": SEED}
    # All rows are alike unseen: the splits only put them in a random order.
    data = load_data("shapes", options)
    parts = [binarized(split, own.binarize, SEED, name) for name, split in data.splits.items()]
    x = torch.cat([torch.from_numpy(part.values) for part in parts]).float() / 255
    factors = torch.cat([torch.from_numpy(part.attributes) for part in parts])
    attributes = data.schema.attributes
    categorical = [isinstance(attribute, Categorical) for attribute in attributes]
    return x, factors, categorical, [attribute.name for attribute in attributes]


if __name__ == "__main__":
    main()
