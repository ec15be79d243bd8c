"""The importance bound of a VAE bundle on binarized MNIST (Burda et al., 2016, equation 8).

    python -m verify.vae bundles/mnist-vae-static --data-root FOLDER

1,000 random test pictures (of a fixed seed), 5,000 importance samples each. A bundle trained on
grey digits is tested on one stochastic binarization of them.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from models.bundle import load_bundle
from models.noise import Noise
from training.data.registry import load_data

VARIANTS = {"static": "static", "dynamic": "grey"}  # of the data set mnist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--binarization", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=5000)
    arguments = parser.parse_args()
    model = load_bundle(arguments.bundle).model
    for name in arguments.binarization:
        data = load_data("mnist", {"variant": VARIANTS[name]}, arguments.data_root)
        chosen = np.random.Generator(np.random.Philox(key=[1, 0])).permutation(
            len(data.test.values)
        )
        x = torch.from_numpy(data.test.values[chosen[: arguments.rows]]).float() / 255
        noise = Noise.of_rows(0, count=len(x))
        x = (noise.stream("binarization").uniform(x.shape[1:]) < x).float()
        started = time.perf_counter()
        elbo = model.log_prob(x, noise).nats
        bounds = [
            model.log_prob(part, Noise.of_rows(0, first, len(part)), arguments.samples)
            for first, part in zip(range(0, len(x), 50), x.split(50), strict=True)
        ]
        nats = torch.cat([bound.nats for bound in bounds])
        own = torch.cat([bound.standard_error for bound in bounds])
        print(
            f"| {arguments.bundle.name} | {name} | {len(x)} | {-elbo.mean():.2f} "
            f"| {-nats.mean():.2f} +- {nats.std() / len(nats) ** 0.5:.2f} | {own.mean():.3f} "
            f"| {time.perf_counter() - started:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
