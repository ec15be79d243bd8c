"""What each latent of a model of drawn shapes does to a picture.

    python -m verify.traversals bundles/shapes-beta-vae --picture docs/images/traversals.png

A row for each latent that says something: a shape is encoded, and that latent alone goes from -2.5
to 2.5 while the others stay. The row's name is the factor that the latent shares most information
with, and which share of the factor's entropy that is. Rows are sorted by it.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from metrics.mutual_information_gap import in_bins, levels_of, mutual_information
from models.bundle import load_bundle
from models.capabilities import Encoder, Latent
from verify.disentanglement import drawn

COLUMNS = 11
REACH = 2.5
BINS = 20
# A latent that never leaves the prior's mean says nothing, and its row would be one picture.
SMALLEST_DEVIATION = 0.2


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--start", type=int, default=0, help="which drawn shape is encoded")
    parser.add_argument("--picture", type=Path, required=True, help="a .png")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    model = bundle.model
    if not isinstance(model, Encoder) or not isinstance(model, Latent):
        raise SystemExit(f"{arguments.bundle}: needs a model that encodes and decodes")
    x, factors, _, names = drawn(bundle.description, arguments.rows)
    codes = torch.cat([model.encode(part).mean for part in x.split(100)])
    start = codes[arguments.start]
    steps = torch.linspace(-REACH, REACH, COLUMNS)
    rows = []
    for latent in (codes.std(dim=0) > SMALLEST_DEVIATION).nonzero()[:, 0].tolist():
        shares = told(codes[:, latent], factors)
        best = int(shares.argmax())
        z = start.repeat(COLUMNS, 1)
        z[:, latent] = steps
        strip = torch.cat(list(model.decode(z)[:, 0]), dim=1)
        rows.append((float(shares[best]), f"z{latent}: {names[best]}", strip))
    draw(sorted(rows, key=lambda row: -row[0]), arguments.picture)


def told(code: Tensor, factors: Tensor) -> Tensor:
    """The share of each factor's entropy that a code tells, (K,)."""
    binned = in_bins(code, BINS)
    shares = []
    for factor in factors.T:
        truth = levels_of(factor, BINS)
        shares.append(mutual_information(binned, truth) / mutual_information(truth, truth))
    return torch.stack(shares)


def draw(rows: list[tuple[float, str, Tensor]], path: Path) -> None:
    """One strip under the other, each with its name before it."""
    figure = Figure(figsize=(9, 0.75 * len(rows)), layout="constrained")
    for axes, (share, name, strip) in zip(
        figure.subplots(len(rows), squeeze=False)[:, 0], rows, strict=True
    ):
        axes.imshow(strip.numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_ylabel(f"{name}\n{share:.0%}", rotation=0, ha="right", va="center", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
