"""VAE/GAN: which loss moves whom, whose features the error is in, and that both forms learn."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from pydantic import ValidationError
from sklearn.datasets import load_digits
from torch import nn

from models.conditions import ConditionSchema
from models.families.vae_gan import VAEGAN, VAEGANConfig
from models.learning import Batch
from models.networks.variational import kl_to_prior
from models.noise import Noise
from tests.conftest import learn
from training.algorithms import algorithm_of
from training.noise import StepNoise
from training.recipe import Training

SHAPE = (1, 8, 8)
LEVELS = (torch.from_numpy(load_digits().images) / 16 * 255).round()
DIGITS = (LEVELS / 255).float()[:, None]


def built(size=16, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = {"channels": 8, "latent_width": 4}
        return VAEGAN(VAEGANConfig(shape=(1, size, size), **small | settings))


def pictures(rows, size=16):
    return torch.rand(rows, 1, size, size, generator=torch.Generator().manual_seed(0))


def plain_losses(model, batch, noise):
    """The three losses of algorithm 1 as it has them, -L_GAN non-saturating, nothing routed."""
    x, config = 2 * batch.x - 1, model.config
    mean, log_variance = model.encoder(x).flatten(1).chunk(2, dim=1)
    of_posterior, of_prior = noise.normal((2, config.latent_width)).unbind(dim=1)
    z = mean + (log_variance / 2).exp() * of_posterior
    fakes = model.decoder(torch.cat([z, of_prior])[:, :, None, None])
    everything = torch.cat([x, fakes])
    depth = [2, 5, 8][config.layer - 1]  # layers up to the stage's activation
    real, rebuilt, _ = model.discriminator[:depth](everything).chunk(3)
    covariance = config.variance**0.5
    density = torch.distributions.Normal(rebuilt, covariance)
    at_best = torch.distributions.Normal(rebuilt, covariance).log_prob(rebuilt)
    like = (at_best - density.log_prob(real)).flatten(1).sum(dim=1).mean()
    odds = model.discriminator(everything).flatten().chunk(3)
    ones = torch.ones(len(x), dtype=x.dtype)
    fools = sum(F.binary_cross_entropy_with_logits(each, ones) for each in odds[1:])
    tells = F.binary_cross_entropy_with_logits(odds[0], ones)
    tells = tells + sum(F.binary_cross_entropy_with_logits(each, 0 * ones) for each in odds[1:])
    return {"prior": kl_to_prior(mean, log_variance).mean(), "like": like}, fools, tells


def gradients(loss, module):
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True)
    return torch.cat([each.flatten() for each in found])


def does_not_reach(loss, module):
    found = torch.autograd.grad(
        loss, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return all(each is None or not each.any() for each in found)


@pytest.fixture(params=[1, 2])
def turn(request):
    """A model in double precision, whose last bits then prove nothing wrong, and a batch."""
    model = built(layer=request.param, variance=0.3, gamma=0.07).double().train()
    return model, Batch(pictures(6).double()), lambda: Noise.of_rows(3, count=6)


def test_the_encoder_goes_down_the_prior_and_the_error_and_never_sees_the_gan(turn):
    model, batch, noise = turn
    (joint,) = (stage.learner for stage in model.stages())
    found = joint.generator_losses(batch, noise())
    plain, _, _ = plain_losses(model, batch, noise())
    assert does_not_reach(found["gan_loss"], model.encoder)
    for mine, theirs in (("prior_nats", "prior"), ("feature_nats", "like")):
        assert torch.allclose(found[mine], plain[theirs])
        wanted = gradients(plain[theirs], model.encoder)
        assert wanted.any()
        assert torch.allclose(gradients(found[mine], model.encoder), wanted, rtol=1e-6, atol=1e-12)
    wanted = gradients(plain["prior"] + plain["like"], model.encoder)
    assert torch.allclose(gradients(found["loss"], model.encoder), wanted, rtol=1e-6, atol=1e-12)


def test_the_decoder_goes_down_gamma_times_the_error_and_the_gan_and_never_sees_the_prior(turn):
    model, batch, noise = turn
    (joint,) = (stage.learner for stage in model.stages())
    found = joint.generator_losses(batch, noise())
    plain, fools, _ = plain_losses(model, batch, noise())
    assert does_not_reach(found["prior_nats"], model.decoder)
    close = {"rtol": 1e-6, "atol": 1e-12}
    error, gan = gradients(plain["like"], model.decoder), gradients(fools, model.decoder)
    assert torch.allclose(found["gan_loss"], fools)
    assert torch.allclose(gradients(found["feature_nats"], model.decoder), 0.07 * error, **close)
    assert torch.allclose(gradients(found["gan_loss"], model.decoder), gan, **close)
    assert torch.allclose(gradients(found["loss"], model.decoder), 0.07 * error + gan, **close)


def test_the_discriminator_goes_down_the_gan_with_both_kinds_of_fakes_and_nothing_else(turn):
    model, batch, noise = turn
    (joint,) = (stage.learner for stage in model.stages())
    found = joint.discriminator_losses(batch, noise())["loss"]
    _, _, tells = plain_losses(model, batch, noise())
    assert torch.allclose(found, tells)
    wanted = gradients(tells, model.discriminator)
    found_there = gradients(found, model.discriminator)
    assert torch.allclose(found_there, wanted, rtol=1e-6, atol=1e-12)
    assert does_not_reach(found, model.encoder)
    assert does_not_reach(found, model.decoder)


def test_a_step_of_training_does_not_move_the_discriminator_by_the_error():
    def after_a_step(**settings):
        model = built(layer=1, **settings)
        (stage,) = model.stages()
        algorithm = algorithm_of(type(stage.learner))(
            stage.learner,
            Training(steps=1, learning_rate=1e-2),
            Fabric(accelerator="cpu", devices=1),
        )
        algorithm.set_up(1)
        model.train()
        algorithm.step([Batch(pictures(6))], StepNoise(0, 0, 6), 0)
        return model

    little, much = after_a_step(), after_a_step(variance=1e-3)
    for player, is_moved in (("encoder", True), ("decoder", True), ("discriminator", False)):
        pairs = zip(
            getattr(little, player).parameters(), getattr(much, player).parameters(), strict=True
        )
        assert any(not torch.equal(*pair) for pair in pairs) == is_moved


@pytest.mark.parametrize(("layer", "depth"), [(1, 2), (2, 5), (3, 8), (None, 8)])
def test_features_are_what_the_discriminator_computes_at_layer_l(layer, depth):
    model = built(32, layer=layer).eval()
    seen = {}
    model.discriminator[depth - 1].register_forward_hook(
        lambda _, __, output: seen.update(features=output)
    )
    x = pictures(2, 32)
    model.discriminator(2 * x - 1)
    stage = (depth + 1) // 3
    assert isinstance(model.discriminator[depth - 1], nn.LeakyReLU)
    assert seen["features"].shape == (2, 8 * 2 ** (stage - 1), 32 // 2**stage, 32 // 2**stage)
    assert torch.equal(model.features(x), seen["features"])


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValidationError, match="layer = 3: a discriminator of 16 pixels has 2"):
        built(layer=3)


def test_evaluation_does_not_depend_on_batch_mates():
    model = built().train()
    for stage in model.stages():
        stage.learner.generator_losses(Batch(pictures(6)), Noise.of_rows(0, count=6))
    model.eval()
    x = pictures(6)
    for compute in (lambda x: model.encode(x).mean, model.features):
        assert torch.allclose(compute(x)[2:3], compute(x[2:3]), atol=1e-5)
    z = model.draw(Noise.of_rows(1, count=6))
    assert torch.allclose(model.decode(z)[2:3], model.decode(z[2:3]), atol=1e-5)


def test_the_fixed_form_learns_a_gan_and_then_a_vae():
    model = built(form="fixed")
    gan, vae = model.stages()
    generator, network = gan.learner.players()
    assert network is model.discriminator
    assert not set(generator.parameters()) & set(model.decoder.parameters())
    loss = gan.learner.generator_losses(Batch(pictures(4)), Noise.of_rows(0, count=4))["loss"]
    assert gradients(loss, model.generator).any()
    loss = gan.learner.discriminator_losses(Batch(pictures(4)), Noise.of_rows(0, count=4))["loss"]
    assert does_not_reach(loss, model.generator)
    assert gradients(loss, model.discriminator).any()
    assert vae.frozen == (model.discriminator,)


def test_the_error_of_the_fixed_form_is_in_the_frozen_features():
    model = built(form="fixed", layer=2, variance=0.5)
    batch = Batch(pictures(4))
    vae = model.stages()[1].learner.train()
    assert not model.discriminator[3].training
    assert model.encoder.training
    # Without batch statistics what the learner computes can be computed from outside.
    model.eval()
    found = vae.losses(batch, Noise.of_rows(5, count=4), 1.0)
    posterior = model.encode(batch.x)
    noise = Noise.of_rows(5, count=4).normal((4,))
    rebuilt = model.decode(posterior.mean + (posterior.log_variance / 2).exp() * noise)
    squares = (model.features(batch.x) - model.features(rebuilt)).square().flatten(1).sum(dim=1)
    assert torch.allclose(found["feature_nats"], squares.mean() / (2 * 0.5), rtol=1e-4)
    prior = kl_to_prior(posterior.mean, posterior.log_variance).mean()
    assert torch.allclose(found["loss"], prior + found["feature_nats"])


def test_the_second_part_of_the_fixed_form_leaves_the_discriminator_as_it_is():
    model = built(8, form="fixed", layer=1)
    batches = [Batch(DIGITS[:64])]
    before = {}
    stages = model.stages()
    enter = stages[1].with_frozen

    def remembered():
        before.update({name: each.clone() for name, each in model.state_dict().items()})
        return enter()

    object.__setattr__(stages[1], "with_frozen", remembered)
    model.stages = lambda: stages
    learn(model, batches, epochs=3)
    changed = {
        name.partition(".")[0]
        for name, each in model.state_dict().items()
        if not torch.equal(each, before[name])
    }
    assert changed == {"encoder", "decoder"}


@cache
def trained(form):
    """A small model that has seen 1,280 digits a few times."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tiny = VAEGANConfig.tiny(SHAPE, ConditionSchema())
        model = VAEGAN(tiny.model_copy(update={"form": form}))
    learn(model, [Batch(part) for part in DIGITS[:1280].split(64)], epochs=12)
    return model.eval().requires_grad_(False)


both_forms = pytest.mark.parametrize("form", ["joint", "fixed"])


@both_forms
def test_reconstructions_come_near_in_features(form):
    model, held_out = trained(form), DIGITS[1280:1480]
    rebuilt = model.decode(model.encode(held_out).mean)

    def error(shown):
        return (model.features(shown) - model.features(held_out)).square().mean()

    assert error(rebuilt) < 0.4 * error(held_out.mean(dim=0).expand_as(held_out))
    assert error(rebuilt) < 0.4 * error(held_out.roll(1, 0))


@both_forms
def test_samples_have_the_level_and_the_spread_of_the_data(form):
    samples = trained(form).sample(Noise.of_rows(0, count=500))
    level, mean = DIGITS.mean(), DIGITS.mean(dim=0)
    assert abs(samples.mean() - level) < 0.05
    assert abs(samples.std(dim=0).mean() - DIGITS.std(dim=0).mean()) < 0.06
    assert (samples.mean(dim=0) - mean).abs().mean() < 0.5 * (level - mean).abs().mean()


@both_forms
def test_the_discriminator_tells_digits_from_noise(form):
    model, held_out = trained(form), DIGITS[1280:1480]
    noise = Noise.of_rows(0, count=len(held_out)).uniform(SHAPE)
    shuffled = held_out.flatten(1)[:, torch.arange(64).flip(0).roll(21)].reshape(held_out.shape)
    real, *others = (
        model.discriminator(2 * each - 1).flatten() for each in (held_out, noise, shuffled)
    )
    for other in others:
        right = (real[:, None] > other).float().mean()  # the area under the curve
        assert right > 0.95
