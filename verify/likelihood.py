"""Likelihoods of test pictures under bundles, as published tables have them.

    python -m verify.likelihood bundles/mnist-made --data-root FOLDER --variant static

All test pictures unless `--rows` says fewer (random ones, of a fixed seed). Nats and bits per
dimension are means over pictures; +- is the standard error of that mean.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch

from metrics.bits_per_dimension import bits_per_dimension
from models.bundle import load_bundle
from models.capabilities import Likelihood
from models.noise import Noise
from models.steps import finished
from training.data.registry import load_data

ROWS_AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--variant", choices=("static", "grey"), default="static")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--method", default="")
    arguments = parser.parse_args()
    data = load_data("mnist", {"variant": arguments.variant}, arguments.data_root)
    chosen = np.random.Generator(np.random.Philox(key=[1, 0])).permutation(len(data.test.values))
    x = torch.from_numpy(data.test.values[chosen[: arguments.rows]]).float() / 255
    labels = data.test.labels
    print("| bundle | test pictures | kind | effort | nats | bits per dimension | time |")
    print("|---|---|---|---|---|---|---|")
    for path in arguments.bundle:
        model, began = load_bundle(path).model, time.perf_counter()
        schema = getattr(model, "condition_schema", None)
        y = None
        if schema is not None and schema.attributes:
            columns = labels[chosen[: arguments.rows], None].astype(np.float32)
            y = torch.from_numpy(schema.encode_columns(columns))
        parts: list[Likelihood] = []
        for first in range(0, len(x), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            part, noise = x[rows], Noise.of_rows(0, first, len(x[rows]))
            given = None if y is None else y[rows]
            with torch.no_grad():
                if arguments.method:
                    scoring = model.scoring_by(
                        arguments.method, part, noise, arguments.effort, given
                    )
                    parts.append(finished(scoring))
                else:
                    parts.append(model.log_prob(part, noise, arguments.effort, given))
        nats = torch.cat([part.nats for part in parts]).double()
        bits = bits_per_dimension(nats, math.prod(model.config.shape), parts[0].measure)
        error = len(nats) ** 0.5
        kind = f"{parts[0].kind} {arguments.method}".strip()
        print(
            f"| {path.name} | {len(x)} {arguments.variant} | {kind} | {arguments.effort} "
            f"| {-nats.mean():.2f} +- {nats.std() / error:.2f} "
            f"| {bits.mean():.3f} +- {bits.std() / error:.3f} "
            f"| {time.perf_counter() - began:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
