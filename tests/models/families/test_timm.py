"""timm's networks as evaluators: what lies between a picture and them."""

import sys

import pytest
import torch
from pydantic import ValidationError

from models.conditions import ConditionSchema
from models.errors import InvalidConfig, NotSupported, WrongShape
from models.families.timm import Timm, TimmConfig, build_network
from models.networks.timm_library import timm_library
from models.noise import Noise


def network(name="test_resnet", shape=(3, 32, 32), **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Timm(
            TimmConfig(shape=shape, network=name, **{"side": 32, "classes": 10, **settings})
        )
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "side"), [("test_resnet", 64), ("test_vit", 160), ("test_convnext", 64)]
)
def test_features_are_what_the_classifier_of_timm_sees(name, side):
    model = network(name, side=side, mean=(0.5, 0.4, 0.3), deviation=(0.1, 0.2, 0.3))
    x = Noise.of_rows(0, count=3).uniform((3, side, side))
    seen = (x - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.1, 0.2, 0.3])[
        :, None, None
    ]
    features = model.features(x)
    scores = model.network.get_classifier()(features)
    assert features.shape == (3, model.network.head_hidden_size)
    assert torch.allclose(scores, model.network(seen), atol=1e-5)
    assert torch.allclose(model.class_probabilities(x), scores.softmax(dim=1), atol=1e-6)


def test_pictures_of_any_size_are_looked_at_and_grey_ones_in_three_channels():
    model = network()
    assert all(model.accepts(shape) for shape in [(1, 8, 8), (3, 40, 20)])
    x = Noise.of_rows(0, count=2).uniform((1, 20, 24))
    assert torch.equal(model.features(x), model.features(x.expand(-1, 3, -1, -1)))
    with pytest.raises(WrongShape, match="expected pictures"):
        model.features(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValidationError, match="needs pictures"):
        TimmConfig.tiny((2,), ConditionSchema())


def test_weights_without_a_classifier_tell_no_classes():
    model = network(classes=0)
    assert not model.has_classes
    assert model.features(torch.zeros(1, 3, 32, 32)).shape == (1, 96)
    with pytest.raises(NotSupported, match="tells no classes"):
        model.class_probabilities(torch.zeros(1, 3, 32, 32))


def test_what_timm_leaves_out_of_files_is_in_the_bundle():
    """Tables of positions, without which a network on the meta device cannot be filled."""
    model = network("swin_s3_tiny_224", side=224)
    buffers = {f"network.{name}" for name, _ in model.network.named_buffers()}
    assert any("relative_position_index" in name for name in buffers)
    assert buffers <= set(model.state_dict())
    with torch.device("meta"):
        empty = Timm(model.config)
    empty.load_state_dict(model.state_dict(), assign=True)
    x = Noise.of_rows(0, count=1).uniform((3, 50, 50))
    assert torch.equal(empty.eval().features(x), model.features(x))


@pytest.mark.parametrize(
    "name", ["test_resnett", "hf-hub:timm/resnet18.a1_in1k", "a/b", "resnet18.no"]
)
def test_a_network_that_timm_has_not_is_refused(name):
    with pytest.raises(InvalidConfig, match="timm has no network"):
        build_network(name)


def test_the_nearest_name_is_told():
    with pytest.raises(InvalidConfig, match="did you mean 'test_resnet'"):
        build_network("test_resnett")


def test_without_timm_it_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NotSupported, match=r"pip install 'latentd\[timm\]'"):
        timm_library()
