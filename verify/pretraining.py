"""What pre-training and depth do to a classifier of MNIST (Erhan et al., 2009, "The difficulty of
training deep architectures and the effect of unsupervised pre-training").

    python -m verify.pretraining --data-root FOLDER

Test errors of `pretrained_classifier` by the number of hidden layers, whose weights begin as a
stack of restricted Boltzmann machines or at random; the same labelled rows, the same fine-tuning.
Means over `--seeds` random starts, +- their standard deviation, then the worst of them.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from models.conditions import ConditionSchema
from models.families.pretrained_classifier import PretrainedClassifier, PretrainedClassifierConfig
from models.learning import Batch, Contrastive, Gradient, stages_of
from training.data.dataset import Split
from training.data.registry import load_data
from training.noise import StepNoise, order

BATCH = 100
SCHEMA = ConditionSchema.of_classes(tuple("0123456789"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=5000, help="training rows")
    parser.add_argument("--test-rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=300)
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pretraining-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--learning-rate", type=float, default=0.1, help="of the fine-tuning")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data("mnist", {}, arguments.data_root)
    train, test = of(data.train, arguments.rows), of(data.test, arguments.test_rows)
    print(
        f"{len(train)} training rows, {len(test)} test rows, {arguments.width} units a layer, "
        f"{arguments.pretraining_epochs} epochs of each layer, {arguments.epochs} of all\n"
    )
    print("| layers | pre-trained: error, % | worst | at random: error, % | worst | time |")
    print("|--:|--:|--:|--:|--:|--:|")
    for depth in arguments.depths:
        began, cells = time.perf_counter(), []
        for pretraining in (True, False):
            errors = torch.tensor(
                [
                    100 * error_of(depth, pretraining, seed, arguments, train, test)
                    for seed in range(arguments.seeds)
                ]
            )
            spread = errors.std() if len(errors) > 1 else torch.zeros(())
            cells.append(f"{errors.mean():.2f} +- {spread:.2f} | {errors.max():.2f}")
        print(
            f"| {depth} | {' | '.join(cells)} | {time.perf_counter() - began:.0f} s |", flush=True
        )


def of(split: Split, rows: int) -> Batch:
    """The first rows of a split, with their labels."""
    assert split.labels is not None
    x = torch.from_numpy(split.values[:rows]).float() / 255
    return Batch(x, labels=torch.eye(10)[torch.from_numpy(split.labels[:rows])])


def error_of(
    depth: int,
    pretraining: bool,
    seed: int,
    arguments: argparse.Namespace,
    train: Batch,
    test: Batch,
) -> float:
    """The share of test rows that one classifier tells wrongly."""
    config = PretrainedClassifierConfig.for_data(
        tuple(train.x.shape[1:]),
        SCHEMA,
        hidden=(arguments.width,) * depth,
        pretraining=pretraining,
        start_deviation=0.05,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PretrainedClassifier(config)
    for stage in stages_of(model):
        seen = stage.seen(train)
        if isinstance(stage.learner, Contrastive):
            learn_layer(stage.learner, seen.x, seed, arguments.pretraining_epochs)
        else:
            assert isinstance(stage.learner, Gradient)
            fine_tune(model, seen, seed, arguments.epochs, arguments.learning_rate)
    told = torch.cat([model.classify(part) for part in test.x.split(500)])
    assert test.labels is not None
    return float((told.argmax(dim=1) != test.labels.argmax(dim=1)).float().mean())


def learn_layer(learner: nn.Module, x: Tensor, seed: int, epochs: int) -> None:
    assert isinstance(learner, Contrastive)
    learner.prepare(lambda: [Batch(x)])
    optimizer = torch.optim.SGD(learner.parameters(), 0.1, momentum=0.5)
    for epoch in range(epochs):
        optimizer.param_groups[0]["momentum"] = 0.5 if epoch < 5 else 0.9
        for step, rows in steps(seed, epoch, len(x)):
            learner.estimate(Batch(x[rows]), StepNoise(seed, step, len(rows)), epoch / epochs)
            optimizer.step()
            learner.constrain()


def fine_tune(
    model: PretrainedClassifier, train: Batch, seed: int, epochs: int, learning_rate: float
) -> None:
    assert train.labels is not None
    learned = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(learned, learning_rate, momentum=0.9)
    for epoch in range(epochs):
        for step, rows in steps(seed, epoch, len(train)):
            batch = Batch(train.x[rows], labels=train.labels[rows])
            loss = model.losses(batch, StepNoise(seed, step, len(rows)), epoch / epochs)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def steps(seed: int, epoch: int, rows: int) -> list[tuple[int, Tensor]]:
    """Number and rows of each step of an epoch."""
    seen = torch.from_numpy(order(seed, epoch, rows)).split(BATCH)
    return [(epoch * len(seen) + index, part) for index, part in enumerate(seen)]


if __name__ == "__main__":
    main()
