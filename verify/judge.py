"""An independent judge of pictures: a small classifier of attributes, trained on real ones."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditions import Categorical, ConditionSchema, Continuous
from training.data.dataset import DataSet, Split
from training.data.registry import load_data

DIGITS = 20_000  # that a judge of digits learns from


def encoded(schema: ConditionSchema, columns: np.ndarray) -> Tensor:
    return torch.from_numpy(schema.encode_columns(columns))


def trained_classifier(x: Tensor, y: Tensor, schema: ConditionSchema) -> nn.Sequential:
    """A small network of its own architecture (pooling, batch norm), 8 epochs of Adam."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        layers: list[nn.Module] = []
        for before, after in ((x.shape[1], 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(before, after, 3, 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        network = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(schema.width))
        network(x[:2])
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    order = np.random.Generator(np.random.Philox(key=[3, 0]))
    for _ in range(8):
        for rows in torch.from_numpy(order.permutation(len(x))).split(64):
            scores = network(x[rows])
            loss = torch.stack(
                [
                    F.cross_entropy(scores[:, where], y[rows][:, where])
                    if isinstance(attribute, Categorical)
                    else F.binary_cross_entropy_with_logits(scores[:, where], y[rows][:, where])
                    for attribute, where in parts(schema)
                ]
            ).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


def other_faces(size: int) -> DataSet:
    """Drawn faces of that size, of a seed that no recipe has."""
    return load_data("faces", {"size": size, "count": 6000, "seed": 12345})


def face_judge(data: DataSet) -> nn.Sequential:
    """A classifier of the attributes of drawn faces."""
    x = torch.from_numpy(data.train.values).float() / 255
    return trained_classifier(x, encoded(data.schema, data.train.attributes), data.schema)


def mixed(split: Split) -> Split:
    """Rows in a random order, always the same: MNIST's first 5,000 test digits are the easier ones,
    so that its halves as they come are no two draws of one law."""
    order = np.random.Generator(np.random.Philox(key=[5, 0])).permutation(len(split))
    return split.take(order)


def at_most(x: Tensor, size: int) -> Tensor:
    """Pictures (B, C, H, W) of that many pixels across, smaller ones as they are."""
    if x.shape[-1] <= size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True)


def digit_judge(data: DataSet, largest: int | None = None) -> nn.Sequential:
    """A classifier of labelled digits, of larger ones at `largest` pixels."""
    train, schema = data.train.take(np.arange(DIGITS)), ConditionSchema.of_classes(data.classes)
    y = encoded(schema, train.labels[:, None].astype(np.float32))
    x = torch.from_numpy(train.values).float() / 255
    return trained_classifier(x if largest is None else at_most(x, largest), y, schema)


@torch.no_grad()
def agreement(
    network: nn.Module, x: Tensor, y: Tensor, schema: ConditionSchema
) -> dict[str, float]:
    """Share of rows whose attribute is as wanted; a continuous one within 0.25 of it."""
    scores = torch.cat([network(part) for part in x.split(200)])
    found = {}
    for attribute, where in parts(schema):
        score, wanted = scores[:, where], y[:, where]
        if isinstance(attribute, Categorical):
            agrees = score.argmax(1) == wanted.argmax(1)
        else:
            tolerance = 0.25 if isinstance(attribute, Continuous) else 0.5
            agrees = ((score.sigmoid() - wanted).abs() < tolerance)[:, 0]
        found[attribute.name] = agrees.float().mean().item()
    return found


@torch.no_grad()
def features(network: nn.Sequential, x: Tensor) -> Tensor:
    """What the last layer sees, averaged over its places: (B, 128), for distances between sets."""
    pooled = network[:-2]
    return torch.cat([pooled(part).mean(dim=(2, 3)) for part in x.split(200)])


def parts(schema: ConditionSchema):
    return [(each, schema.slices[each.name]) for each in schema.attributes]
