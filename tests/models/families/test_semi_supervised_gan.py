"""K + 1 classes of which a few rows tell K."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from models.conditions import Boolean, Categorical, ConditionSchema
from models.families.semi_supervised_gan import SemiSupervisedGAN, SemiSupervisedGANConfig
from models.learning import Batch
from models.noise import Noise
from tests.conftest import SCHEMA, SHAPE, learn

DIGITS = load_digits()
X = torch.from_numpy(np.round(DIGITS.images / 16 * 255) / 255).float().reshape(-1, *SHAPE)
Y = torch.eye(10)[torch.from_numpy(DIGITS.target)]


def batches(labels):
    rows = zip(X[:1600].split(64), labels[:1600].split(64), strict=True)
    return [Batch(x, None, y) for x, y in rows]


def build(**settings):
    config = SemiSupervisedGANConfig.tiny(SHAPE, SCHEMA).model_copy(update=settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SemiSupervisedGAN(config)


def test_the_score_is_the_log_odds_against_class_k_plus_1():
    model = build().eval()
    with torch.no_grad():
        classes = model.critic(2 * X[:20] - 1)
        of_all = F.softmax(torch.cat([classes, torch.zeros(20, 1)], dim=1).double(), dim=1)
        score = model.criticise(X[:20]).double()
    assert torch.allclose(score.sigmoid(), 1 - of_all[:, 10], atol=1e-6)
    assert torch.equal(model.classify(X[:20]).argmax(1), of_all[:, :10].argmax(1))


def test_as_many_rows_of_each_class_come_with_it():
    model = build(labelled_rows=43)
    model.prepare(lambda: batches(Y))
    assert model.labels.sum(dim=0).tolist() == [5, 5, 5, 4, 4, 4, 4, 4, 4, 4]
    known = {(row.numpy().tobytes(), int(y.argmax())) for row, y in zip(X, Y, strict=True)}
    chosen = zip(model.labelled, model.labels, strict=True)
    assert {(row.numpy().tobytes(), int(y.argmax())) for row, y in chosen} <= known


def test_a_class_of_few_rows_stands_more_than_once():
    model = build(labelled_rows=40)
    few = [Batch(X[:20], None, Y[:20])]
    model.prepare(lambda: few)
    assert (model.labels.sum(dim=1) == 1).all()
    assert (model.labelled.flatten(1).amax(dim=1) > 0).all()


def test_other_labels_are_not_looked_at():
    model = build(labelled_rows=40)
    model.prepare(lambda: batches(Y))
    noise = Noise.of_rows(0, count=64)
    told, lied = (
        model.discriminator_losses(Batch(X[:64], None, y), noise)["loss"]
        for y in (Y[:64], Y[:64].flip(1))
    )
    assert told == lied


def test_unlabelled_digits_help_to_tell_them():
    """The game against the same network that sees the labelled rows only, as many steps."""
    settings = {"network": "dense", "hidden": (256, 256), "labelled_rows": 50}
    model, alone = build(**settings), build(**settings)
    learn(model, batches(Y))
    alone.prepare(lambda: batches(Y))
    weights = torch.optim.Adam(alone.critic.parameters(), 1e-3, betas=(0.5, 0.999))
    for _ in range(8 * len(batches(Y))):
        scores = alone.critic(2 * alone.labelled.flatten(1) - 1)
        weights.zero_grad()
        F.cross_entropy(scores, alone.labels).backward()
        weights.step()
    right = [
        (each.eval().classify(X[1600:]).argmax(1) == Y[1600:].argmax(1)).float().mean()
        for each in (model, alone)
    ]
    assert right[0] > right[1] + 0.02


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "wasserstein"}, "no probabilities"),
        ({"labelled_rows": 9}, "at least one of each of 10 classes"),
        ({"classes": "hair"}, "expected one of label"),
        ({"conditional": True}, "conditional"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SemiSupervisedGANConfig.for_data(SHAPE, SCHEMA, **settings)


def test_the_first_attribute_of_names_gives_the_classes():
    schema = ConditionSchema(
        attributes=(Boolean(name="smile"), Categorical(name="hair", values=("none", "long")))
    )
    config = SemiSupervisedGANConfig.for_data(SHAPE, schema)
    assert SemiSupervisedGAN(config).classified_schema.names == ("hair",)
    with pytest.raises(ValueError, match="needs data with class labels"):
        SemiSupervisedGANConfig.for_data(SHAPE, ConditionSchema(attributes=schema.attributes[:1]))
