"""PCA of MNIST against scikit-learn and against Hinton & Salakhutdinov (2006): 13.87.

python -m verify.pca --data-root FOLDER
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn import decomposition

from models import registry
from models.learning import Batch
from models.noise import Noise
from training.data.registry import load_data

COMPONENTS = 30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, required=True)
    data = load_data("mnist", {"validation_fraction": 0}, parser.parse_args().data_root)
    train, test = (
        torch.from_numpy(split.values).float() / 255 for split in (data.train, data.test)
    )
    model = registry.build("pca", {"shape": data.shape, "components": COMPONENTS})
    model.fit(lambda: [Batch(x) for x in train.split(1000)])
    nats = model.log_prob(test, Noise.of_rows(0, count=len(test))).nats.numpy()
    error = (model.project(test) - test).square().flatten(1).sum(dim=1).mean().item()

    reference = decomposition.PCA(COMPONENTS, svd_solver="full").fit(train.flatten(1).double())
    expected = reference.score_samples(test.flatten(1).double().numpy())
    furthest = np.abs(nats / expected - 1).max()
    print("| quantity | found | expected |")
    print("|---|---|---|")
    print(f"| rows fitted / tested | {len(train)} / {len(test)} | 60000 / 10000 |")
    print(f"| summed squared error a test digit | {error:.3f} | 13.87 +- 0.05 |")
    print(f"| mean log-density, nats | {nats.mean():.4f} | {expected.mean():.4f} (scikit-learn) |")
    print(f"| largest relative difference a row | {furthest:.1e} | <= 1e-6 |")


if __name__ == "__main__":
    main()
