"""How many of the 25 dots of `points2d`'s grid generators make, and how many points on them.

    python -m verify.modes bundles/points-gan-1 bundles/points-gan-2

2,500 samples; one is of high quality within three standard deviations of the nearest dot, and a dot
is covered where it has at least one such (Srivastava et al., 2017, arXiv:1705.07761, section 4.1).
The divergence is KL(found || even) of how often dots are hit by samples of high quality, nats. With
several bundles their mean and deviation come last.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from models.bundle import load_bundle
from models.noise import Noise
from training.data.sets.points2d import Options

SAMPLES = 2500
SIDE = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    arguments = parser.parse_args()
    print("| bundle | dots covered, of 25 | high quality | divergence from even |")
    print("|---|---|---|---|")
    found = [measured(path) for path in arguments.bundle]
    for path, (covered, good, divergence) in zip(arguments.bundle, found, strict=True):
        print(f"| {path.name} | {covered:.0f} | {good:.1%} | {divergence:.3f} |")
    if len(found) > 1:
        mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        cells = [
            f"{mean[0]:.1f} +- {spread[0]:.1f}",
            f"{mean[1]:.1%} +- {spread[1]:.1%}",
            f"{mean[2]:.3f} +- {spread[2]:.3f}",
        ]
        print(f"| mean of {len(found)} | {' | '.join(cells)} |")


@torch.no_grad()
def measured(path: Path) -> tuple[float, float, float]:
    bundle = load_bundle(path)
    own = Options.model_validate(bundle.description.provenance.settings["data"]["options"])
    if own.kind != "grid":
        raise SystemExit(f"{path}: expected a model of points2d's grid, got {own.kind}")
    samples = bundle.model.sample(Noise.of_rows(0, count=SAMPLES)).numpy()
    axis = np.linspace(-1, 1, SIDE)
    dots = np.stack(np.meshgrid(axis, axis), axis=2).reshape(-1, 2)
    away = np.linalg.norm(samples[:, None] - dots, axis=2)
    nearest, is_good = away.argmin(axis=1), away.min(axis=1) <= 3 * own.noise
    hits = np.bincount(nearest[is_good], minlength=len(dots)) / max(is_good.sum(), 1)
    divergence = np.sum(hits[hits > 0] * np.log(hits[hits > 0] * len(dots)))
    return float((hits > 0).sum()), float(is_good.mean()), float(divergence)


if __name__ == "__main__":
    main()
