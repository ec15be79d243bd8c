"""What the exact likelihood of a Bernoulli mixture of static MNIST depends on besides K.

    python -m verify.mixtures --data-root FOLDER --components 10 --starts k-means++ random \\
        --seeds 5 --prior-rows 1 0.001

For each start, seed and smoothing the mean nats of all training and test digits after the recipe's
EM. Smoothing is `prior_rows`: that many made-up rows of even odds in each component.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from models.families.mixture import Mixture, MixtureConfig
from models.learning import Batch
from models.noise import Noise
from training.data.registry import load_data

ROWS_AT_ONCE = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--starts", nargs="+", default=["k-means++"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--prior-rows", type=float, nargs="+", default=[1.0])
    parser.add_argument("--steps", type=int, default=200, help="of EM, at most")
    arguments = parser.parse_args()
    data = load_data("mnist", {"variant": "static"}, arguments.data_root)
    x, test = (torch.from_numpy(each.values).float() / 255 for each in (data.train, data.test))

    def passes() -> Iterator[Batch]:
        return (Batch(part) for part in x.split(ROWS_AT_ONCE))

    print(f"{arguments.components} components, {len(x):,} training and {len(test):,} test digits")
    print("| start | seed | prior rows | training nats | test nats |")
    print("|---|---|---|---|---|")
    for start, seed, prior_rows in product(
        arguments.starts, range(arguments.seeds), arguments.prior_rows
    ):
        config = MixtureConfig(
            shape=tuple(x.shape[1:]),
            law="bernoulli",
            components=arguments.components,
            start=start,
            seed=seed,
            prior_rows=prior_rows,
            largest_steps=arguments.steps,
        )
        model = Mixture(config)
        model.fit(passes)
        found = " | ".join(f"{mean_nats(model, each):.2f}" for each in (x, test))
        print(f"| {start} | {seed} | {prior_rows:g} | {found} |", flush=True)


def mean_nats(model: Mixture, x: Tensor) -> float:
    parts = [
        model.log_prob(part, Noise.of_rows(0, count=len(part))).nats
        for part in x.split(ROWS_AT_ONCE)
    ]
    return -torch.cat(parts).mean().item()


if __name__ == "__main__":
    main()
