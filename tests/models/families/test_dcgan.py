"""The paper's architecture rules, and encoding by search."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from models.conditions import ConditionSchema
from models.families.dcgan import DCGAN, DCGANConfig
from models.learning import Batch
from models.noise import Noise

CLASSES = ConditionSchema.of_classes(("a", "b", "c"))


def built(size=32, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DCGAN(DCGANConfig(shape=(3, size, size), channels=8, latent_width=6, **settings))


@pytest.mark.parametrize("size", [8, 14, 28, 32, 64, 128])
def test_every_size_gives_pictures_of_that_size_and_one_log_odds(size):
    model = built(size)
    x = model.sample(Noise.of_rows(0, count=2))
    assert x.shape == (2, 3, size, size)
    assert model.criticise(x).shape == (2,)


def test_the_rules_of_the_paper_hold():
    model = built(64)
    layers = list(model.modules())
    assert not any(isinstance(layer, nn.MaxPool2d | nn.AvgPool2d) for layer in layers)
    # The discriminator's last layer covers the last feature map: a convolution, written flat.
    assert [layer for layer in layers if isinstance(layer, nn.Linear)] == [model.critic.head]
    generator, discriminator = list(model.generator), list(model.critic.body)
    assert isinstance(generator[-1], nn.Tanh)
    assert not isinstance(generator[-2], nn.BatchNorm2d)
    assert not isinstance(discriminator[1], nn.BatchNorm2d)
    assert {type(layer) for layer in generator[1:-1]} >= {nn.BatchNorm2d, nn.ReLU}
    assert sum(isinstance(layer, nn.LeakyReLU) for layer in discriminator) == model.config.stages


def test_a_size_that_does_not_double_is_refused():
    with pytest.raises(ValidationError, match="doubled"):
        DCGANConfig(shape=(3, 30, 30))


def test_conditional_without_labels_is_refused():
    with pytest.raises(ValidationError, match="labels"):
        DCGANConfig(shape=(3, 32, 32), conditional=True)


def test_each_players_loss_moves_that_player_alone_where_it_should():
    model = built(condition=CLASSES, conditional=True)
    batch = Batch(torch.rand(4, 3, 32, 32), torch.eye(3)[[0, 1, 2, 0]])
    model.discriminator_losses(batch, Noise.of_rows(0, count=4))["loss"].backward()
    assert all(p.grad is None for p in model.generator.parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.critic.parameters() if p.dim() > 1)
    model.generator_losses(batch, Noise.of_rows(0, count=4))["loss"].backward()
    assert all(p.grad.abs().sum() > 0 for p in model.generator.parameters() if p.dim() > 1)


def test_encoding_finds_a_picture_of_its_own():
    model = built(inversion_steps=300, inversion_restarts=3).eval()
    with torch.no_grad():
        # Untrained weights of 0.02 give grey: scaled up, pictures differ as a trained model's do.
        for parameter in model.generator.parameters():
            if parameter.dim() == 4:
                parameter.mul_(6)
    x = model.sample(Noise.of_rows(5, count=3)).detach()
    posterior = model.encode(x)
    spread = (x - x.mean(dim=0)).square().mean()
    assert (posterior.residual < 0.05 * spread).all()
    rebuilt = (model.decode(posterior.mean) - x).square().flatten(1).mean(dim=1)
    assert torch.allclose(rebuilt, posterior.residual, atol=1e-6)


def test_encoding_a_row_does_not_depend_on_its_batch_mates():
    model = built(inversion_steps=20).eval()
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model.encode(x).mean[1:2], model.encode(x[1:2]).mean, atol=1e-3)


def test_encoding_works_where_gradients_are_switched_off():
    with torch.no_grad():
        posterior = built(inversion_steps=2).eval().encode(torch.rand(1, 3, 32, 32))
    assert not posterior.mean.requires_grad
