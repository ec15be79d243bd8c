"""How well clusters found by k-means fit MNIST's classes.

    python -m verify.kmeans bundles/mnist-kmeans --data-root FOLDER

Accuracy under the best matching of clusters to classes (Hungarian algorithm), and normalised mutual
information, as in the clustering literature: of single runs from ten seeds on all 70,000 digits,
whose mean is what is published, and of the bundle, which is the best run by inertia. The best by
inertia need not be the best by either number.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score
from torch import Tensor

from models.bundle import load_bundle
from models.families.kmeans import KMeans
from models.learning import Batch
from training.data.registry import load_data

ROWS_AT_ONCE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=10)
    arguments = parser.parse_args()
    model = load_bundle(arguments.bundle).model
    if not isinstance(model, KMeans):
        raise SystemExit(f"{arguments.bundle}: expected a kmeans bundle, got {model.name}")
    data = load_data("mnist", {"variant": "grey"}, arguments.data_root)
    splits = (data.train, data.validation, data.test)
    x = torch.from_numpy(np.concatenate([each.values for each in splits])).float() / 255
    labels = np.concatenate([each.labels for each in splits])

    def passes() -> Iterator[Batch]:
        return (Batch(part) for part in x.split(ROWS_AT_ONCE))

    print(f"{len(x):,} digits")
    print("| run | inertia a digit | accuracy | normalised mutual information |")
    print("|---|---|---|---|")
    trials = []
    for seed in range(arguments.trials):
        trial = KMeans(model.config.model_copy(update={"seed": seed, "restarts": 1}))
        trial.fit(passes)
        trials.append((trial.inertia.item() / len(x), *agreement(trial, x, labels)))
        print(row(f"seed {seed}", trials[-1]), flush=True)
    print(row(f"mean of {len(trials)}", tuple(np.mean(trials, axis=0))))
    print(row("their deviation", tuple(np.std(trials, axis=0, ddof=1))))
    print(row(str(arguments.bundle), (inertia(model, x), *agreement(model, x, labels))))


def agreement(model: KMeans, x: Tensor, labels: NDArray[np.integer]) -> tuple[float, float]:
    """Accuracy and normalised mutual information."""
    found = torch.cat([model.assign(part) for part in x.split(ROWS_AT_ONCE)]).numpy()
    table = confusion_matrix(labels, found)
    accuracy = table[linear_sum_assignment(-table)].sum() / len(labels)
    return accuracy, normalized_mutual_info_score(labels, found)


def inertia(model: KMeans, x: Tensor) -> float:
    """Squared distance to the nearest centre, mean over the digits."""
    parts = [
        (part - model.decode(model.encode(part).mean)).square().sum()
        for part in x.split(ROWS_AT_ONCE)
    ]
    return torch.stack(parts).sum().item() / len(x)


def row(name: str, values: tuple[float, ...]) -> str:
    of_digit, accuracy, information = values
    return f"| {name} | {of_digit:.3f} | {accuracy:.1%} | {information:.1%} |"


if __name__ == "__main__":
    main()
