"""How much faster cached sampling is than a whole pass for each pixel, and that both draw the same.

    python -m verify.cached_sampling bundles/mnist-pixelcnn

Both ways in the same run, on one thread, in CPU time: other programs beside it change little.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from models.bundle import load_bundle
from models.families.pixelcnn import PixelCNN
from models.noise import Noise

SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| bundle | pictures | cached, s | naive, s | faster | equal bytes |")
    print("|---|---|---|---|---|---|")
    for path in arguments.bundle:
        model = load_bundle(path).model
        if not isinstance(model, PixelCNN):
            raise SystemExit(f"{path}: only a pixelcnn samples both ways, got {model.name}")
        noise, schema = Noise.of_rows(SEED, count=arguments.count), model.condition_schema
        condition = None
        if schema.attributes:
            condition = torch.tensor(schema.encode({})).expand(arguments.count, -1)
        cached, quick = timed(partial(model.sample, noise, condition))
        naive, slow = timed(partial(model.sample_naive, noise, condition))
        print(
            f"| {path.name} | {arguments.count} | {quick:.1f} | {slow:.1f} | {slow / quick:.0f} "
            f"times | {'yes' if torch.equal(cached, naive) else 'NO'} |",
            flush=True,
        )


def timed(draw: Callable[[], Tensor]) -> tuple[Tensor, float]:
    began = time.process_time()
    drawn = draw()
    return drawn, time.process_time() - began


if __name__ == "__main__":
    main()
