"""Discriminator rejection sampling: of what a generator makes, what the discriminator likes."""

import pytest
import torch

from models.bundle import load_bundle
from models.learning import Batch, stages_of
from tests.service import bundles
from tests.service.conftest import shown


@pytest.fixture
def opinionated(tmp_path):
    """A bundle whose discriminator is sure of itself, and how it scores samples."""
    model = bundles.build("gan", bundles.GREY)
    with torch.no_grad():
        model.critic.head.weight.mul_(100)
    stages_of(model)[-1].learner.fit(lambda: [Batch(torch.rand(100, *bundles.GREY))])
    bundles.save(model, tmp_path / "sure")
    return tmp_path


def test_what_is_kept_is_liked_better(own_server, opinionated):
    server = own_server(bundles_dir=opinionated)
    model = load_bundle(opinionated / "sure").model
    means = []
    for share in ({}, {"rejection": 0}, {"rejection": 50}, {"rejection": 95}):
        body = {"n": 64, "seed": 5, "return_latents": True, **share}
        drawn = server.ask("sure", "sample", body)["pictures"]
        with torch.no_grad():
            x = model.decode(torch.tensor([each["latent"] for each in drawn]))
            means.append(model.criticise(x).mean().item())
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.5 * model.score_quantiles.std()


@pytest.mark.offering("RejectionSampler")
def test_row_k_of_many_is_row_k_alone(server, model):
    body = {"seed": 7, "rejection": 80}
    together = shown(server.ask(model, "sample", {**body, "n": 5}))
    for k in (0, 3):
        alone = server.ask(model, "sample", {**body, "first_row": k})
        assert shown(alone) == [together[k]]


def test_others_and_combinations_are_refused(server):
    for model, more, param in (
        ("vae-grey", {}, "rejection"),
        ("wgan-pictures", {}, "rejection"),
        ("dcgan-grey", {"temperature": 0.5}, "temperature"),
        ("dcgan-grey", {"rejection": 96}, "rejection"),
    ):
        answer = server.post(model, "sample", {"rejection": 50, **more})
        assert answer.status_code == 422, (model, answer.text)
        assert answer.json()["param"] == param


def test_strictness_is_part_of_what_names_the_picture(server):
    found = {
        tuple(shown(server.ask("dcgan-grey", "sample", {"seed": 1, "n": 4, "rejection": share})))
        for share in (0, 50, 95)
    }
    assert len(found) > 1
