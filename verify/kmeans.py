"""How well the clusters of a k-means bundle fit MNIST's classes.

    python -m verify.kmeans bundles/mnist-kmeans --data-root FOLDER

Accuracy under the best matching of clusters to classes (Hungarian algorithm), and normalised mutual
information, on all training digits, as in the clustering literature.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score

from models.bundle import load_bundle
from training.data.registry import load_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_bundle(arguments.bundle).model
    data = load_data("mnist", {"variant": "grey"}, arguments.data_root)
    x = torch.from_numpy(data.train.values).float() / 255
    labels = data.train.labels
    found = torch.cat([model.encode(part).mean.argmax(1) for part in x.split(1000)]).numpy()
    table = confusion_matrix(labels, found)
    accuracy = table[linear_sum_assignment(-table)].sum() / len(labels)
    information = normalized_mutual_info_score(labels, found)
    print(f"accuracy {accuracy:.1%}, normalised mutual information {information:.1%}")
    print(f"{len(np.unique(found))} clusters, {len(labels)} digits")


if __name__ == "__main__":
    main()
