"""Metrics that bundles were given at the end of their training, side by side.

    python -m verify.table bundles/mnist-pca bundles/mnist-autoencoder \\
        --metrics test_reconstruction_squared_error test_linear_probe_accuracy_label
"""

import argparse
from pathlib import Path

from models.bundle import read_description


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--metrics", nargs="+", required=True)
    arguments = parser.parse_args()
    print("| bundle |", *(f"{name} |" for name in arguments.metrics))
    print("|---|" + "---|" * len(arguments.metrics))
    for path in arguments.bundle:
        description, _ = read_description(path)
        found = description.metrics
        missing = [name for name in arguments.metrics if name not in found]
        if missing:
            raise SystemExit(f"{path} has no {', '.join(missing)}; it has {', '.join(found)}")
        cells = [f"{found[name]:.4g}" for name in arguments.metrics]
        print(f"| {path.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
