"""Every measure of samples that needs no likelihood, for bundles of one data set, in one table.

    python -m verify.gan_table bundles/mnist-dcgan bundles/mnist-wgan-gp --data-root FOLDER

As many samples as real pictures, of the attributes that those have where a model is conditional.
The inception score (of the first attribute that has named values) and the distances in features are
those of an independent classifier of the same data: its numbers are compared with no other's. It
sees larger pictures at 32 pixels; what is finer is for the sliced Wasserstein distance to see.
Sliced Wasserstein distances are x 1,000, the finest level first, then their mean; MS-SSIM is the
mean over pairs of samples. The first row is of real pictures against others.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from metrics.frechet_distance import frechet_distance
from metrics.inception_score import inception_score
from metrics.ms_ssim import ms_ssim
from metrics.precision_recall import precision_recall
from metrics.sliced_wasserstein import sliced_wasserstein
from models.bundle import load_bundle
from models.capabilities import Conditional, Sampler, offers
from models.conditions import Categorical
from models.family import Family, FamilyConfig
from models.noise import Noise
from training.batches import columns_of
from training.data.dataset import DataSet, Split
from training.data.registry import load_data
from training.recipe import Data
from verify.judge import at_most, digit_judge, face_judge, features, mixed, other_faces

ROWS_AT_ONCE = 100
JUDGED_SIZE = 32  # pixels that the classifier sees at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--count", type=int, default=2500, help="pictures a set")
    arguments = parser.parse_args()
    count = arguments.count
    bundles = {path.name: load_bundle(path) for path in arguments.bundle}
    own = [
        Data.model_validate(each.description.provenance.settings["data"])
        for each in bundles.values()
    ]
    if any((each.name, each.options) != (own[0].name, own[0].options) for each in own):
        raise SystemExit("these bundles are of different data: ask for one table each")
    data = load_data(own[0].name, own[0].options, arguments.data_root)
    judge, classes = judge_of(data)
    # Training pictures as the reference: there are enough of them, also of drawn faces.
    real = mixed(data.train)
    reference, others = real.take(np.arange(count)), real.take(np.arange(count, 2 * count))
    print("| bundle | inception score | Frechet | precision | recall | SWD x 1,000 | MS-SSIM |")
    print("|---|---|---|---|---|---|---|")
    report(judge, classes, "real pictures", pictures(reference), pictures(others))
    for name, bundle in bundles.items():
        report(judge, classes, name, pictures(reference), samples(bundle.model, others))


def judge_of(data: DataSet) -> tuple[nn.Sequential, slice]:
    """A classifier, and which of its scores are of the first attribute of named values."""
    if data.classes is not None:
        return digit_judge(data, JUDGED_SIZE), slice(0, len(data.classes))
    faces = other_faces(min(data.shape[1], JUDGED_SIZE))
    named = next(each for each in faces.schema.attributes if isinstance(each, Categorical))
    return face_judge(faces), faces.schema.slices[named.name]


def pictures(split: Split) -> Tensor:
    return torch.from_numpy(split.values).float() / 255


@torch.no_grad()
def samples(model: Family[FamilyConfig], split: Split) -> Tensor:
    """As many as the split has rows, of their attributes."""
    if not isinstance(model, Sampler):
        raise SystemExit(f"{model.name} does not sample")
    conditions = None
    if isinstance(model, Conditional) and offers(model, Conditional):
        conditions = torch.from_numpy(model.condition_schema.encode_columns(columns_of(split)))
    parts = []
    for start in range(0, len(split), ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, len(split) - start)
        condition = None if conditions is None else conditions[start : start + rows]
        parts.append(model.sample(Noise.of_rows(0, start, rows), condition))
    return torch.cat(parts)


@torch.no_grad()
def report(judge: nn.Sequential, classes: slice, name: str, real: Tensor, found: Tensor) -> None:
    """A line of the table."""
    small_real, small = at_most(real, JUDGED_SIZE), at_most(found, JUDGED_SIZE)
    scores = torch.cat([judge(part)[:, classes] for part in small.split(ROWS_AT_ONCE)])
    inception = inception_score(scores.softmax(dim=1))
    of_real, of_found = features(judge, small_real), features(judge, small)
    manifold = precision_recall(of_real, of_found)
    sliced = sliced_wasserstein(real, found)
    levels = " / ".join(f"{level:.1f}" for level in sliced.of_levels.values())
    half = len(found) // 2
    alike = ms_ssim(found[:half], found[half : 2 * half])
    print(
        f"| {name} | {inception.mean:.2f} | {frechet_distance(of_found, of_real):.2f} "
        f"| {manifold.precision:.3f} | {manifold.recall:.3f} "
        f"| {levels}; {sliced.mean:.1f} | {alike.mean():.4f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
