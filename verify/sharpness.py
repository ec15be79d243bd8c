"""Are a model's pictures as sharp as those it learned from?

    python -m verify.sharpness bundles/faces-vae bundles/faces-vae-gan

Mean sharpness (variance of the Laplacian; Pertuz et al., 2013), with its standard error, of the
bundle's held-out pictures, of as many samples, and of the held-out pictures' reconstructions.
Shares are of the held-out pictures' sharpness.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from metrics.sharpness import sharpness
from models.bundle import Bundle, load_bundle
from models.capabilities import Conditional, offers
from models.noise import Noise

ROWS_AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--rows", type=int, default=1000, help="at most")
    arguments = parser.parse_args()
    print("| bundle | pictures | held out | samples | reconstructions |")
    print("|---|---|---|---|---|")
    for path in arguments.bundle:
        shown = pictures(load_bundle(path), arguments.rows)
        found = [sharpness(each).double() for each in shown]
        standard = found[0].mean()
        cells = [f"{each.mean():.4f} +- {each.std() / len(each) ** 0.5:.4f}" for each in found]
        cells[1:] = [
            f"{cell} ({each.mean() / standard:.0%})"
            for cell, each in zip(cells[1:], found[1:], strict=True)
        ]
        print(f"| {path.name} | {len(shown[0])} | {' | '.join(cells)} |", flush=True)


@torch.no_grad()
def pictures(bundle: Bundle, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Held-out pictures, samples and reconstructions, (B, C, H, W) each."""
    model, reference = bundle.model, bundle.reference()
    x = torch.from_numpy(reference.held_out[:rows]).float() / 255
    conditions: list[Tensor | None] = [None] * len(x.split(ROWS_AT_ONCE))
    if offers(model, Conditional):
        columns = reference.held_out_attributes[: len(x)]
        conditions = list(
            torch.from_numpy(model.condition_schema.encode_columns(columns)).split(ROWS_AT_ONCE)
        )
    samples, rebuilt = [], []
    for index, (part, condition) in enumerate(zip(x.split(ROWS_AT_ONCE), conditions, strict=True)):
        noise = Noise.of_rows(0, index * ROWS_AT_ONCE, len(part))
        samples.append(model.sample(noise, condition))
        rebuilt.append(model.decode(model.encode(part, condition).mean, condition))
    return x, torch.cat(samples), torch.cat(rebuilt)


if __name__ == "__main__":
    main()
