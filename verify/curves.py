"""How a number fell while bundles were trained, from the runs' logs.

    python -m verify.curves runs/mnist-nice runs/mnist-glow --picture docs/images/flow-curves.png \\
        --metrics bits_per_dimension validation_bits_per_dimension --wanted 4.4 1.3

One plot a run; the dashed line is what was wanted of it.
"""

import argparse
import csv
from pathlib import Path

from matplotlib.figure import Figure

FIRST_SHARE = 0.02  # of a run is left out: what falls steeply there hides the rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="+")
    parser.add_argument("--metrics", nargs="+", required=True)
    parser.add_argument("--wanted", type=float, nargs="*", default=[])
    parser.add_argument("--picture", type=Path, required=True, help="a .png")
    arguments = parser.parse_args()
    if arguments.wanted and len(arguments.wanted) != len(arguments.run):
        parser.error("--wanted: one number a run")
    count = len(arguments.run)
    figure = Figure(figsize=(4.5 * count, 3.2), layout="constrained")
    for index, (run, axes) in enumerate(
        zip(arguments.run, figure.subplots(1, count, squeeze=False)[0], strict=True)
    ):
        for name in arguments.metrics:
            epochs, values = curve(run / "metrics.csv", name)
            axes.plot(epochs, values, label=name.replace("_", " "))
        if arguments.wanted:
            axes.axhline(arguments.wanted[index], color="gray", linestyle="--", label="wanted")
        axes.set_title(run.name)
        axes.set_xlabel("epochs")
        axes.legend(fontsize=7)
    figure.savefig(arguments.picture, dpi=100)


def curve(path: Path, name: str) -> tuple[list[float], list[float]]:
    """A number's epochs and values."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == name]
    if not rows:
        raise SystemExit(f"{path} has no {name}")
    last = float(rows[-1]["epoch"])
    shown = [row for row in rows if float(row["epoch"]) >= FIRST_SHARE * last]
    return [float(row["epoch"]) for row in shown], [float(row["value"]) for row in shown]


if __name__ == "__main__":
    main()
