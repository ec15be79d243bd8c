"""What critics of the plane say, as a picture."""

import pytest
import torch

from models.bundle import load_bundle
from tests.service.conftest import levels_of

BOUNDS = {"left": -1.0, "right": 2.0, "bottom": 0.0, "top": 3.0}


def ask(server, model, **query):
    return server.client.get(f"/v1/models/{model}/critic.png", params=query)


@pytest.mark.offering("Critic", kinds=("points",))
def test_a_place_is_as_dark_as_the_critic_finds_it_real(server, model, bundles_dir):
    answer = ask(server, model, size=8, **BOUNDS)
    if "Conditional" in server.client.get(f"/v1/models/{model}").json()["capabilities"]:
        assert answer.status_code == 501
        return
    assert answer.status_code == 200, answer.text
    levels = torch.from_numpy(levels_of(answer.content)[0].astype(float))
    assert levels.min() == 0
    assert levels.max() == 255
    middles = (torch.arange(8) + 0.5) / 8 * 3
    y, x = torch.meshgrid(3 - middles, middles - 1, indexing="ij")
    with torch.no_grad():
        scores = load_bundle(bundles_dir / model).model.criticise(
            torch.stack([x.flatten(), y.flatten()], dim=1)
        )
    order = scores.argsort(descending=True)
    assert (levels.flatten()[order].diff() >= -1).all()
    assert ask(server, model, size=8, **BOUNDS).content == answer.content


def test_models_of_pictures_and_without_a_critic_have_none(server):
    for model in ("dcgan-pictures", "vae-points"):
        answer = ask(server, model)
        assert answer.status_code == 501
        assert "critic.png" in answer.json()["detail"]
