"""By how much denoising autoencoders reduce the error of corrupted MNIST test digits.

    python -m verify.denoising bundles/mnist-denoising --data-root FOLDER

Each digit is corrupted as the model was trained to undo; errors are summed squared differences from
the clean digit, of the corrupted digit left as it is and of the denoised one, means over digits.
"""

import argparse
from pathlib import Path

import torch

from metrics.reconstruction_error import reconstruction_error
from models.bundle import load_bundle
from models.families.denoising import Denoising
from models.noise import Noise
from training.data.registry import load_data

ROWS_AT_ONCE = 500


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    arguments = parser.parse_args()
    test = load_data("mnist", {"variant": "grey"}, arguments.data_root).test
    x = torch.from_numpy(test.values).float() / 255
    print("| bundle | corruption | digits | left as they are | denoised | reduced |")
    print("|---|---|---|---|---|---|")
    for path in arguments.bundle:
        model = load_bundle(path).model
        if not isinstance(model, Denoising):
            raise SystemExit(f"{path}: expected a denoising bundle, got {model.name}")
        before, after = [], []
        for first in range(0, len(x), ROWS_AT_ONCE):
            clean = x[first : first + ROWS_AT_ONCE]
            corrupted = model.corrupted(clean, Noise.of_rows(0, first, len(clean)))
            before.append(reconstruction_error(clean, corrupted).squared)
            after.append(reconstruction_error(clean, model.denoise(corrupted)).squared)
        nothing, denoised = (torch.cat(parts).mean().item() for parts in (before, after))
        print(
            f"| {path.name} | {model.config.corruption} | {len(x)} | {nothing:.2f} "
            f"| {denoised:.2f} | {nothing / denoised:.1f}-fold |",
            flush=True,
        )


if __name__ == "__main__":
    main()
