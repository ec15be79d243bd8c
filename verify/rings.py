"""How far a density of the four rings of `points2d` is from the true one.

    python -m verify.rings bundles/points-spline-flow

A point of a ring of radius r with normal noise of deviation s has, at distance d from the middle,
density I0(d r / s^2) exp(-(d^2 + r^2) / 2 s^2) / (2 pi s^2), I0 a modified Bessel function (the
angle integrated out); the rings are equally likely. The mean of log p - log q over points of p is
the divergence KL(p || q) by which the cross-entropy exceeds the entropy; both are means over the
same fresh points, so that their error is that of the difference.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ive

from models.bundle import load_bundle
from models.noise import Noise
from training.data.registry import load_data

RADII = (0.25, 0.5, 0.75, 1.0)
SEED = 1000  # not that of any recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--noise", type=float, default=0.03, help="of the recipe's data")
    arguments = parser.parse_args()
    options = {"kind": "rings", "count": arguments.count, "noise": arguments.noise, "seed": SEED}
    points = load_data("points2d", options).train.values
    true = log_density(np.linalg.norm(points.astype(np.float64), axis=1), arguments.noise)
    print(f"entropy {-true.mean():.4f} nats, of {len(points):,} points")
    print("| bundle | cross-entropy, nats | above the entropy |")
    print("|---|---|---|")
    x = torch.from_numpy(points)
    for path in arguments.bundle:
        model = load_bundle(path).model
        nats = torch.cat(
            [
                model.log_prob(part, Noise.of_rows(0, 1000 * index, len(part))).nats.double()
                for index, part in enumerate(torch.split(x, 1000))
            ]
        ).numpy()
        gap = true - nats
        error = gap.std() / math.sqrt(len(gap))
        print(f"| {path.name} | {-nats.mean():.4f} | {gap.mean():.4f} +- {error:.4f} |")


def log_density(distance: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    """Of points at a distance from the middle, nats."""
    radii, d = np.array(RADII), distance[:, None]
    # ive is I0 without its exponential growth, which the exponent takes in.
    exponent = -((d - radii) ** 2) / (2 * noise**2)
    each = np.log(ive(0, d * radii / noise**2)) + exponent
    found: NDArray[np.float64] = np.logaddexp.reduce(each, axis=1)
    return found - math.log(len(RADII)) - math.log(2 * math.pi * noise**2)


if __name__ == "__main__":
    main()
