"""Are a model's faces as sharp as those it learned from, and do they look like them?

    python -m verify.sharpness bundles/faces-vae bundles/faces-vae-gan --picture faces.png

Mean sharpness (variance of the Laplacian; Pertuz et al., 2013), with its standard error, of the
bundle's held-out pictures, of as many samples, and of the held-out pictures' reconstructions;
shares are of the held-out pictures' sharpness. Precision and recall (k = 3) of the samples are in
the features of an independent classifier of the faces' attributes. The picture has a row of
held-out pictures and, of each bundle, one of their reconstructions and one of samples.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from metrics.precision_recall import precision_recall
from metrics.sharpness import sharpness
from models.bundle import Bundle, load_bundle
from models.capabilities import Conditional, offers
from models.noise import Noise
from verify.judge import face_judge, features, other_faces
from verify.montage import save_enlarged

ROWS_AT_ONCE = 100
SHOWN = 12


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--rows", type=int, default=1000, help="at most")
    parser.add_argument("--picture", type=Path, help="where some pictures go, a .png")
    arguments = parser.parse_args()
    print("| bundle | pictures | held out | samples | reconstructions | precision | recall |")
    print("|---|---|---|---|---|---|---|")
    judges: dict[int, nn.Sequential] = {}
    rows: list[Tensor] = []
    for path in arguments.bundle:
        bundle = load_bundle(path)
        shown = pictures(bundle, arguments.rows)
        held_out, samples, rebuilt = (torch.cat(list(each[:SHOWN]), dim=2) for each in shown)
        rows += [*([] if rows else [held_out]), rebuilt, samples]
        found = [sharpness(each).double() for each in shown]
        standard = found[0].mean()
        cells = [f"{each.mean():.4f} +- {each.std() / len(each) ** 0.5:.4f}" for each in found]
        cells[1:] = [
            f"{cell} ({each.mean() / standard:.0%})"
            for cell, each in zip(cells[1:], found[1:], strict=True)
        ]
        size = bundle.model.config.shape[1]
        if size not in judges:
            judges[size] = face_judge(other_faces(size))
        manifold = precision_recall(*(features(judges[size], each) for each in shown[:2]))
        cells += [f"{share:.1%}" for share in manifold]
        print(f"| {path.name} | {len(shown[0])} | {' | '.join(cells)} |", flush=True)
    if arguments.picture:
        levels = (255 * torch.cat(rows, dim=1)).round().to(torch.uint8)
        save_enlarged(levels.numpy(), arguments.picture)


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
