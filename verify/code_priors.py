"""What an autoencoder's samples owe to the density fitted on its codes, beside a VAE.

    python -m verify.code_priors bundles/mnist-autoencoder bundles/mnist-vae-dynamic \\
        --data-root FOLDER --picture docs/images/code-priors.png

Codes drawn from N(0, I), which an autoencoder was never asked to fill, and from the bundle's own
prior: of a VAE both are the same. The Frechet distance to real test digits is in the features of an
independent classifier; the picture has a row of unselected samples for each.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from metrics.frechet_distance import frechet_distance
from models.bundle import load_bundle
from models.capabilities import Latent
from models.noise import Noise
from training.data.registry import load_data
from verify.judge import digit_judge, features, mixed

SHOWN = 16
ROWS_AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--picture", type=Path, help="where the samples go, a .png")
    arguments = parser.parse_args()
    data = load_data("mnist", {"variant": "grey"}, arguments.data_root)
    judge = digit_judge(data)
    test = torch.from_numpy(mixed(data.test).values).float() / 255
    half = len(test) // 2
    real = features(judge, test[:half])
    print(f"| bundle | codes from | Frechet distance of {arguments.count} |")
    print("|---|---|---|")
    report(judge, real, "real test digits", "", test[half : half + arguments.count])
    rows = []
    for path in arguments.bundle:
        for source, x in samples(load_bundle(path).model, arguments.count):
            report(judge, real, path.name, source, x)
            rows.append(torch.cat(list(x[:SHOWN, 0]), dim=1))
    if arguments.picture:
        levels = (255 * torch.cat(rows)).round().to(torch.uint8)
        Image.fromarray(levels.numpy().astype(np.uint8)).save(arguments.picture)


@torch.no_grad()
def samples(model: Latent, count: int) -> Iterator[tuple[str, Tensor]]:
    """Pictures by each source of codes."""
    space = model.latent_spaces[0]
    keys = [Noise.of_rows(0, first, ROWS_AT_ONCE) for first in range(0, count, ROWS_AT_ONCE)]
    normal = [model.decode(noise.normal(space.shape)) for noise in keys]
    yield "N(0, I)", torch.cat(normal)[:count]
    if space.prior != "standard_normal":
        fitted = [model.decode(model.draw(noise)) for noise in keys]
        yield "the fitted prior", torch.cat(fitted)[:count]


def report(judge: nn.Sequential, real: Tensor, name: str, source: str, x: Tensor) -> None:
    distance = frechet_distance(features(judge, x), real)
    print(f"| {name} | {source} | {distance:.3f} |", flush=True)


if __name__ == "__main__":
    main()
