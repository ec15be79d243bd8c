"""How far densities of `points2d` are from the true one, where that is known.

    python -m verify.points bundles/points-spline-flow

The mean of log p - log q over fresh points of p is the divergence KL(p || q), by which the
cross-entropy exceeds the entropy; both are means over the same points, so that their error is that
of the difference. Kind and noise are those of each bundle's recipe. True densities: a point that a
normal error of deviation s takes to distance d from the middle of a circle of radius r has density
I0(d r / s^2) exp(-(d^2 + r^2) / 2 s^2) / (2 pi s^2), the angle integrated out by the modified
Bessel function I0 (rings); half circles are integrated as sums over their angle (moons).
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ive, logsumexp

from models.bundle import load_bundle
from models.noise import Noise
from training.data.registry import load_data
from training.data.sets.points2d import Options

Floats = NDArray[np.float64]

RADII = (0.25, 0.5, 0.75, 1.0)
ANGLES = 2000  # of a half circle: many within each noise's deviation
SEED = 1000  # not that of any recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=100_000)
    arguments = parser.parse_args()
    print("| bundle | kind | points | entropy, nats | cross-entropy | above the entropy |")
    print("|---|---|---|---|---|---|")
    for path in arguments.bundle:
        bundle = load_bundle(path)
        own = bundle.description.provenance.settings["data"]["options"]
        options = {**own, "count": arguments.count, "seed": SEED}
        kind, noise = (getattr(Options.model_validate(options), name) for name in ("kind", "noise"))
        if kind not in DENSITIES:
            raise SystemExit(f"{path}: the density of {kind} is not known here")
        points = load_data("points2d", options).train.values
        true = np.concatenate(
            [DENSITIES[kind](part, noise) for part in np.array_split(points.astype(float), 100)]
        )
        x, model = torch.from_numpy(points), bundle.model
        nats = torch.cat(
            [
                model.log_prob(part, Noise.of_rows(0, 1000 * index, len(part))).nats.double()
                for index, part in enumerate(x.split(1000))
            ]
        ).numpy()
        gap = true - nats
        error = gap.std() / math.sqrt(len(gap))
        print(
            f"| {path.name} | {kind} | {len(x)} | {-true.mean():.4f} | {-nats.mean():.4f} "
            f"| {gap.mean():.4f} +- {error:.4f} |",
            flush=True,
        )


def rings(points: Floats, noise: float) -> Floats:
    """Log-density of points (N, 2), nats."""
    radii, d = np.array(RADII), np.linalg.norm(points, axis=1)[:, None]
    # ive is I0 without its exponential growth, which the exponent takes in.
    exponent = -((d - radii) ** 2) / (2 * noise**2)
    each = np.log(ive(0, d * radii / noise**2)) + exponent
    return logsumexp(each, axis=1) - math.log(len(RADII)) - math.log(2 * math.pi * noise**2)


def moons(points: Floats, noise: float) -> Floats:
    """As `rings`."""
    angle = np.pi * (np.arange(ANGLES) + 0.5) / ANGLES
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    middles = (np.concatenate([upper, lower]) - [0.5, 0.25]) / 1.5
    squared = ((points[:, None] - middles) ** 2).sum(axis=2)
    each = logsumexp(-squared / (2 * noise**2), axis=1)
    return each - math.log(len(middles)) - math.log(2 * math.pi * noise**2)


DENSITIES = {"rings": rings, "moons": moons}


if __name__ == "__main__":
    main()
