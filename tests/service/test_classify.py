"""Pictures to the attributes that a model takes them to have."""

import numpy as np
import pytest
import torch
from safetensors.torch import load

from models.bundle import load_bundle
from tests.service.conftest import inputs, levels_of


@pytest.mark.offering("AttributeClassifier", kinds=("pictures", "grey"))
def test_attributes_are_those_that_the_model_tells(server, bundles_dir, model):
    body = {"pictures": inputs(model, count=3)["pictures"]}
    answer = server.ask(model, "classify", body)
    assert [each["row"] for each in answer["pictures"]] == [0, 1, 2]
    served = load_bundle(bundles_dir / model).model
    x = torch.from_numpy(np.stack([levels_of(each) for each in body["pictures"]])).float() / 255
    with torch.no_grad():
        told = served.classify(x).numpy()
    for each, row in zip(answer["pictures"], told, strict=True):
        wanted = served.classified_schema.decode(row)
        numbers = {name: value for name, value in wanted.items() if isinstance(value, float)}
        assert {**each["attributes"], **numbers} == wanted
        assert all(each["attributes"][name] == pytest.approx(numbers[name]) for name in numbers)
    raw = server.post(model, "classify", body, accept="application/vnd.safetensors").content
    assert np.allclose(load(raw)["y"].numpy(), told, atol=1e-5)


def test_what_is_asked_for_is_not_taken_as_known(server):
    body = {**inputs("cvae-grey", count=1), "attributes": {"smile": True}}
    refused = server.post("cvae-grey", "classify", body)
    assert refused.status_code == 422
    assert "known: fit, pictures, values" in refused.json()["detail"]


def test_a_model_that_tells_classes_is_not_asked_for_them_when_it_draws(server):
    name = "semi_supervised_gan-pictures"
    about = server.client.get(f"/v1/models/{name}").json()
    assert {"classify", "sample"} <= set(about["operations"])
    assert "generate" not in about["operations"]
    assert len(server.ask(name, "sample", {"n": 2, "seed": 1})["pictures"]) == 2
