"""Log-likelihoods of test pictures under Boltzmann machines, with log Z from both sides.

    python -m verify.boltzmann bundles/mnist-rbm bundles/mnist-dbn bundles/mnist-dbm \\
        --data-root FOLDER

Of bundles of `rbm`, `dbn` and `dbm` on static binarized MNIST (or, with `--data digits`, on
thresholded small digits). log Z is what training's last part found and the bundle holds: exact
where a side has at most 20 units, else by annealed importance sampling. Forward, it is too small in
the mean, so that likelihoods come out too high; backward (from states of the machine), too large,
so that they come out too low. The truth lies between as far as chains reach all modes. Of `dbn` and
`dbm` the numerator is a variational bound, with `--effort` importance samples. Reverse annealing
(RAISE), of an `rbm` without exact log Z, is told as how far it is below "forward" on
`--reverse-rows` test pictures, taken evenly: two estimates of the same, which err to different
sides.

Nats are means over test pictures; +- is the standard error of that mean.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.bundle import load_bundle
from models.families.rbm import RBM
from models.family import Family, FamilyConfig
from models.networks.annealing import data_bias, ladder, reverse_annealed
from models.noise import Noise
from training.batches import binarized, schema_of
from training.data.registry import load_data

ROWS_AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data", choices=("mnist", "digits"), default="mnist")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--reverse-rows", type=int, default=100)
    arguments = parser.parse_args()
    options = {"variant": "static"} if arguments.data == "mnist" else {}
    data = load_data(arguments.data, options, arguments.data_root)
    mode = "none" if arguments.data == "mnist" else "threshold"
    test = binarized(data.test, mode, 0, "test")
    x = torch.from_numpy(test.values[: arguments.rows]).float() / 255
    y = None
    if test.labels is not None:
        columns = test.labels[: arguments.rows, None].astype(np.float32)
        y = torch.from_numpy(schema_of(data).encode_columns(columns))
    print(f"{len(x)} test pictures of {arguments.data}, {arguments.effort} importance samples\n")
    print(
        "| bundle | log Z forward | log Z backward | nats, forward | nats, backward "
        "| RAISE, below forward | kind |"
    )
    print("|---|--:|--:|--:|--:|--:|---|")
    for path in arguments.bundle:
        print(line(path, x, y, arguments.effort, arguments.reverse_rows), flush=True)
    for path in arguments.bundle:
        found = load_bundle(path).description.metrics
        bounds = {name: value for name, value in found.items() if name.startswith("train_bound")}
        if bounds:
            told = ", ".join(f"{name} {value:.2f}" for name, value in bounds.items())
            print(f"\n{path.name}, layer by layer: {told}")


def line(path: Path, x: Tensor, y: Tensor | None, effort: int, reverse_rows: int) -> str:
    """One bundle's row of the table."""
    model = load_bundle(path).model
    schema = getattr(model, "condition_schema", None)
    given = y if schema is not None and schema.attributes else None
    parts = []
    for first in range(0, len(x), ROWS_AT_ONCE):
        rows = slice(first, first + ROWS_AT_ONCE)
        noise = Noise.of_rows(0, first, len(x[rows]))
        part = None if given is None else given[rows]
        steps = min(effort, model.maximum_effort)
        with torch.no_grad():
            parts.append(model.log_prob(x[rows], noise, steps, part))
    nats = torch.cat([part.nats for part in parts]).double()
    # By class where there are classes, else one for all rows.
    tables = model.get_buffer(
        "log_partitions" if hasattr(model, "log_partitions") else "log_partition"
    ).reshape(-1, 3)
    which = torch.zeros(len(x), dtype=torch.int64) if given is None else given.argmax(dim=1)
    below, error, above = tables[which].unbind(dim=1)
    backward = nats + below - above
    spread = nats.std() / len(nats) ** 0.5
    log_z = f"{below.mean():.2f} +- {error.mean():.2f} | {above.mean():.2f}"
    kind = "exact log Z" if bool((error == 0).all()) else "estimated log Z"
    return (
        f"| {path.name} | {log_z} | {nats.mean():.2f} +- {spread:.2f} "
        f"| {backward.mean():.2f} +- {spread:.2f} | {reversely(model, x, nats, reverse_rows)} "
        f"| {parts[0].kind}, {kind} |"
    )


def reversely(model: Family[FamilyConfig], x: Tensor, nats: Tensor, rows: int) -> str:
    """How far reverse annealing is below these estimates, of so many rows."""
    if not isinstance(model, RBM) or model.machine.can_enumerate() or not rows:
        return ""
    few = torch.arange(0, len(x), max(1, len(x) // rows))[:rows]
    base = data_bias(model.machine, model.learner.data_mean)
    betas = ladder(model.config.annealing_steps)
    with torch.no_grad():
        v = model.pixels.of(x[few])
        found = reverse_annealed(model.machine, base, betas, v, chains=1, seed=0)
    below = nats[few] - found
    return f"{below.mean():.2f} +- {below.std() / len(below) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
