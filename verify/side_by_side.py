"""Pictures of runs and bundles side by side, each under its title.

    python -m verify.side_by_side bundles/*/samples.png --picture docs/images/samples.png
    python -m verify.side_by_side runs/points-gan/samples/step-00000*00.png \\
        --titles "100 steps" "200 steps" --picture docs/images/game.png

Without titles each bears its bundle's name. `--lines` shows the upper part only, of so many of the
eight lines of a grid of samples.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

LINES = 8  # of a bundle's samples.png
INCHES = 2.6  # a picture's width


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--titles", nargs="+")
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--picture", type=Path, required=True, help="a .png")
    arguments = parser.parse_args()
    titles = arguments.titles or [file.parent.name for file in arguments.file]
    if len(titles) != len(arguments.file):
        parser.error(f"{len(arguments.file)} files and {len(titles)} titles")
    shown = [upper(file, arguments.lines) for file in arguments.file]
    columns = min(arguments.columns, len(shown))
    rows = math.ceil(len(shown) / columns)
    height = INCHES * shown[0].shape[0] / shown[0].shape[1] + 0.25
    figure = Figure(figsize=(INCHES * columns, height * rows), layout="constrained")
    for panel in (panels := figure.subplots(rows, columns, squeeze=False)).flat:
        panel.set_axis_off()
    for panel, title, picture in zip(panels.flat, titles, shown, strict=False):
        panel.imshow(picture)
        panel.set_title(title, fontsize=9)
    figure.savefig(arguments.picture, dpi=100)


def upper(file: Path, lines: int) -> np.ndarray:
    levels = np.asarray(Image.open(file).convert("RGB"))
    return levels[: levels.shape[0] * lines // LINES]


if __name__ == "__main__":
    main()
