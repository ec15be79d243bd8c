"""Classifiers that metrics look at pictures with."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from models import registry
from models.conditions import Boolean, Categorical, ConditionSchema, Continuous
from models.errors import InvalidInput, NotSupported, WrongShape
from models.families.evaluator import ConvolutionalEvaluator, EvaluatorConfig
from models.learning import Batch
from models.noise import Noise
from service.acceleration import accelerate

SCHEMA = ConditionSchema(
    attributes=(
        Boolean(name="smile"),
        Categorical(name="hair", values=("none", "short", "long")),
        Continuous(name="age", minimum=20, maximum=60, default=30),
        Categorical(name="hat", values=("none", "cap")),
    )
)


def pictures(side, channels=3, rows=4):
    return Noise.of_rows(side, count=rows).uniform((channels, side, side))


@pytest.fixture
def evaluator():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ConvolutionalEvaluator(EvaluatorConfig.tiny((3, 16, 16), SCHEMA))
        model.train()
        model.losses(Batch(pictures(16), None, torch.zeros(4, SCHEMA.width)), None, 0.0)
    return model.eval()


@pytest.mark.parametrize(("side", "how"), [(9, "BICUBIC"), (40, "BICUBIC"), (48, "BOX")])
def test_other_sizes_are_resized_as_pillow_does_it(evaluator, side, how):
    x = pictures(side)
    resized = [
        [
            np.asarray(Image.fromarray(plane).resize((16, 16), Image.Resampling[how]))
            for plane in row
        ]
        for row in x.numpy()
    ]
    expected = evaluator.features(torch.from_numpy(np.clip(resized, 0, 1)))
    assert torch.allclose(evaluator.features(x), expected, atol=1e-4)


def test_features_are_the_means_of_the_last_maps(evaluator):
    x = pictures(16)
    maps = evaluator.layers(x)
    assert evaluator.features(x).shape == (4, 16)
    assert torch.allclose(evaluator.features(x), maps.mean(dim=(2, 3)))


def test_classes_are_the_values_of_the_first_category(evaluator):
    x = pictures(16)
    found = evaluator.class_probabilities(x)
    assert evaluator.has_classes
    assert found.shape == (4, 3)
    assert torch.allclose(found.sum(dim=1), torch.ones(4))
    told = evaluator.classify(x)[:, SCHEMA.slices["hair"]]
    assert torch.equal(found.argmax(dim=1), told.argmax(dim=1))


def test_one_that_knows_no_categories_tells_no_classes():
    schema = ConditionSchema(attributes=(Boolean(name="smile"),))
    model = ConvolutionalEvaluator(EvaluatorConfig.tiny((3, 8, 8), schema)).eval()
    assert not model.has_classes
    with pytest.raises(NotSupported, match="taught no categories"):
        model.class_probabilities(pictures(8))


def test_it_looks_at_square_pictures_of_its_channels(evaluator):
    accepted = {(3, 16, 16), (3, 8, 8), (3, 128, 128)}
    refused = {(3, 7, 7), (1, 16, 16), (3, 16, 20), (2,), ()}
    assert all(evaluator.accepts(shape) for shape in accepted)
    assert not any(evaluator.accepts(shape) for shape in refused)
    with pytest.raises(WrongShape, match=r"square ones of 3 channels and sides of at least 8"):
        evaluator.features(pictures(16, channels=1))


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValidationError, match="cannot be halved 3 times; give fewer channels"):
        EvaluatorConfig.for_data((1, 6, 6), SCHEMA)
    with pytest.raises(ValidationError, match="needs pictures"):
        EvaluatorConfig.for_data((2,), SCHEMA)
    with pytest.raises(ValidationError, match="needs data with attributes or class labels"):
        EvaluatorConfig.for_data((1, 8, 8), ConditionSchema())


def test_rows_without_labels_teach_it_nothing(evaluator):
    with pytest.raises(InvalidInput, match="rows with labels"):
        evaluator.losses(Batch(pictures(16)), Noise.of_rows(0, count=4), 0.0)


@pytest.mark.parametrize("family", ["evaluator", "inception"])
def test_the_service_makes_it_quicker_without_changing_what_it_sees(family):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = registry.family(family).config_type.tiny((3, 16, 16), SCHEMA)
        model = registry.build(family, config).eval().requires_grad_(False)
    x = pictures(16)
    before, count = model.features(x), len(model.state_dict())
    accelerate(model, torch.device("cpu"))
    assert len(model.state_dict()) < count
    assert torch.allclose(model.features(x), before, rtol=1e-4, atol=1e-6)
