"""What a diffusion model's digits gain from more steps.

    python -m verify.diffusion_steps bundles/mnist-diffusion --data-root FOLDER \\
        --picture docs/images/diffusion-steps.png

DDIM (eta = 0) of the same labels and seeds in ever more steps. An independent classifier, trained
on real digits, says how sure it is of what it sees (its largest probability), whether it is the
digit that was asked for, and gives the features of the Frechet distance to real test digits. Real
digits stand beside: what is left of the distance between two sets of them is the measure's floor.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from metrics.frechet_distance import frechet_distance
from models.bundle import load_bundle
from models.conditions import ConditionSchema
from models.families.diffusion import Diffusion
from models.noise import Noise
from training.data.registry import load_data
from verify.judge import agreement, digit_judge, encoded, features, mixed

STEPS = (1, 2, 3, 5, 10, 20, 50, 100)
SHOWN = 12
ROWS_AT_ONCE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--picture", type=Path, help="where the plot goes, a .png")
    arguments = parser.parse_args()
    model = load_bundle(arguments.bundle).model
    if not isinstance(model, Diffusion) or not model.condition_schema.attributes:
        raise SystemExit(f"{arguments.bundle}: needs a diffusion model of labelled digits")
    schema = model.condition_schema
    data = load_data("mnist", {"variant": "grey"}, arguments.data_root)
    judge = digit_judge(data)
    split = mixed(data.test)
    test = torch.from_numpy(split.values).float() / 255
    wanted = encoded(schema, split.labels[:, None].astype(np.float32))
    half, count = len(test) // 2, arguments.count
    real = features(judge, test[:half])

    print(f"| steps | {count} digits' confidence | right label | Frechet distance |")
    print("|---|---|---|---|")
    found = []
    others, labels = test[half : half + count], wanted[half : half + count]
    report("real test digits", judged(judge, others, labels, schema, real))
    labels, rows = wanted[:count], []
    for steps in STEPS:
        digits = drawn(model, labels, steps)
        found.append(judged(judge, digits, labels, schema, real))
        rows.append(digits[:SHOWN, 0])
        report(str(steps), found[-1])
    if arguments.picture:
        plotted(found, rows).savefig(arguments.picture, dpi=80)


@torch.no_grad()
def drawn(model: Diffusion, labels: Tensor, steps: int) -> Tensor:
    parts = []
    for first in range(0, len(labels), ROWS_AT_ONCE):
        condition = labels[first : first + ROWS_AT_ONCE]
        noise = Noise.of_rows(1, first, len(condition))
        parts.append(model.run_chains(noise, condition, steps))
    return torch.cat(parts)


@torch.no_grad()
def judged(
    judge: nn.Sequential, digits: Tensor, labels: Tensor, schema: ConditionSchema, real: Tensor
) -> tuple[float, float, float, float]:
    """Mean confidence and its standard error, share of right labels, Frechet distance."""
    sure = torch.cat([judge(part).softmax(dim=1).amax(dim=1) for part in digits.split(200)])
    (right,) = agreement(judge, digits, labels, schema).values()
    distance = frechet_distance(features(judge, digits), real)
    return sure.mean().item(), sure.std().item() / math.sqrt(len(sure)), right, distance


def report(name: str, values: tuple[float, float, float, float]) -> None:
    sure, error, right, distance = values
    print(f"| {name} | {sure:.3f} +- {error:.3f} | {right:.1%} | {distance:.3f} |", flush=True)


def plotted(found: list[tuple[float, float, float, float]], rows: list[Tensor]) -> Figure:
    """Two curves over the number of steps, and the same digits at each number."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 4))
    left.plot(STEPS, [each[3] for each in found], "o-", color="tab:blue")
    left.set(xscale="log", yscale="log", xlabel="DDIM steps")
    left.set_xticks(STEPS, [str(each) for each in STEPS])
    left.minorticks_off()
    left.set_ylabel("Frechet distance, judge's features", color="tab:blue")
    beside = left.twinx()
    beside.plot(STEPS, [each[0] for each in found], "s--", color="tab:red")
    beside.set_ylabel("judge's mean confidence", color="tab:red")
    right.imshow(torch.cat([torch.cat(list(row), dim=1) for row in rows]), cmap="gray")
    right.set_yticks([28 * k + 14 for k in range(len(STEPS))], [str(each) for each in STEPS])
    right.set_xticks([])
    right.set_ylabel("steps")
    return figure


if __name__ == "__main__":
    main()
