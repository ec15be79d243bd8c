"""What models of the plane make of their data: points of each data set above, densities below.

    python -m verify.density_pictures bundles/points-histogram bundles/points-mixture \\
        --picture docs/images/densities.png

Data are drawn anew by each bundle's recipe; densities are exp(log_prob) at the middle of each of
200 x 200 cells.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.noise import Noise
from training.data.registry import load_data

CELLS = 200
POINTS = 100_000
ROWS_AT_ONCE = 4000
MARGIN = 0.05  # of the data's width, around them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--picture", type=Path, required=True)
    arguments = parser.parse_args()
    count = len(arguments.bundle)
    figure = Figure(figsize=(2.4 * count, 5.2), layout="constrained")
    panels = figure.subplots(2, count, squeeze=False)
    for path, (above, below) in zip(arguments.bundle, panels.T, strict=True):
        bundle = load_bundle(path)
        points = data_of(bundle)
        low, high = points.min(axis=0), points.max(axis=0)
        low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        extent = (low[0], high[0], low[1], high[1])
        counts, _, _ = np.histogram2d(
            points[:, 1], points[:, 0], CELLS, ((low[1], high[1]), (low[0], high[0]))
        )
        for panel, shown in ((above, counts), (below, density(bundle, low, high))):
            brightest = np.quantile(shown[shown > 0], 0.99)
            panel.imshow(shown, origin="lower", extent=extent, cmap="gray_r", vmax=brightest)
            panel.set(xticks=[], yticks=[])
        above.set_title(path.name.removeprefix("points-"))
    panels[0, 0].set_ylabel("data")
    panels[1, 0].set_ylabel("density")
    figure.savefig(arguments.picture, dpi=80)


def data_of(bundle: Bundle) -> NDArray[np.float32]:
    """Points (N, 2) as its recipe has them."""
    options = bundle.description.provenance.settings["data"]["options"]
    return load_data("points2d", {**options, "count": POINTS}).train.values


@torch.no_grad()
def density(bundle: Bundle, low: NDArray, high: NDArray) -> NDArray[np.float64]:
    """At the middles of cells, (CELLS, CELLS), the lowest row first."""
    middles = (np.arange(CELLS) + 0.5) / CELLS
    x, y = np.meshgrid(*(low[axis] + middles * (high - low)[axis] for axis in (0, 1)))
    cells = torch.from_numpy(np.stack([x.ravel(), y.ravel()], axis=1)).float()
    parts = []
    for first in range(0, len(cells), ROWS_AT_ONCE):
        part = cells[first : first + ROWS_AT_ONCE]
        parts.append(bundle.model.log_prob(part, Noise.of_rows(0, first, len(part))).nats.exp())
    return torch.cat(parts).double().numpy().reshape(CELLS, CELLS)


if __name__ == "__main__":
    main()
