"""The parts of adversarial families against their definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from models.conditions import ConditionSchema
from models.families.acgan import ACGAN, ACGANConfig
from models.families.gan import GAN, GANConfig
from models.families.wgan import WGAN, WGANConfig
from models.families.wgan_gp import WGANGP, WGANGPConfig
from models.learning import Batch
from models.networks.critic_penalties import drift, gradient_penalty, r1_penalty
from models.networks.gan_objectives import discriminator_loss, generator_loss
from models.networks.minibatch_parts import MinibatchDeviation, MinibatchDiscrimination
from models.networks.virtual_batch_norm import VirtualBatchNorm, collecting
from models.noise import Noise

CLASSES = ConditionSchema.of_classes(("a", "b", "c"))


def built(family, config):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return family(config)


def rows(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch_of(shape, count=8, y=None):
    u = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))
    return Batch(u, y)


# Objectives


def test_objectives_of_probabilities_are_cross_entropies():
    real, fake = rows(0, 5), rows(1, 5)
    d_real, d_fake = real.sigmoid(), fake.sigmoid()
    expected = -d_real.log().mean() - (1 - d_fake).log().mean()
    for objective in ("minimax", "non_saturating"):
        assert torch.allclose(discriminator_loss(objective, real, fake), expected)
    assert torch.allclose(generator_loss("minimax", fake), (1 - d_fake).log().mean())
    assert torch.allclose(generator_loss("non_saturating", fake), -d_fake.log().mean())


def test_a_smoothed_target_is_the_cross_entropy_with_it_for_real_rows_alone():
    real, fake = rows(0, 5), rows(1, 5)
    found = discriminator_loss("non_saturating", real, fake, real_target=0.9)
    on_real = F.binary_cross_entropy_with_logits(real, torch.full_like(real, 0.9))
    assert torch.allclose(found, on_real + F.softplus(fake).mean())


def test_the_saturating_loss_hardly_moves_a_generator_that_is_found_out():
    """The reason for the other one (Goodfellow et al., 2014, section 3)."""
    slopes = {}
    for objective in ("minimax", "non_saturating"):
        fake = torch.full((4,), -10.0, requires_grad=True)
        generator_loss(objective, fake).backward()
        slopes[objective] = fake.grad.abs().max().item()
    assert slopes["minimax"] < 1e-4 * slopes["non_saturating"]


@pytest.mark.parametrize(
    "objective", ["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"]
)
def test_every_objective_pulls_real_scores_up_and_fakes_down_and_the_generator_up(objective):
    real, fake = (torch.zeros(3, requires_grad=True) for _ in range(2))
    discriminator_loss(objective, real, fake).backward()
    assert (real.grad < 0).all()
    assert (fake.grad >= 0).all()
    fake.grad = None
    generator_loss(objective, fake).backward()
    assert (fake.grad < 0).all()


# Penalties


def test_the_gradient_penalty_is_what_autograd_gives_by_hand():
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    real, fake, share = rows(0, 6, 3), rows(1, 6, 3), torch.linspace(0, 1, 6).double()
    found = gradient_penalty(lambda x: critic(x)[:, 0], real, fake, share)
    by_hand = []
    first, _, last = critic
    for k in range(6):
        at = share[k] * real[k] + (1 - share[k]) * fake[k]
        bent = 1 - (first.weight @ at + first.bias).tanh() ** 2
        slope = first.weight.T @ (bent * last.weight[0])
        by_hand.append((slope.square().sum().sqrt() - 1) ** 2)
    assert torch.allclose(found, torch.stack(by_hand).mean(), rtol=1e-12)


def test_the_gradient_penalty_has_the_gradient_of_finite_differences():
    critic = nn.Sequential(nn.Linear(2, 3), nn.Softplus(), nn.Linear(3, 1)).double()
    real, fake, share = rows(0, 4, 2), rows(1, 4, 2), torch.rand(4).double()

    def penalty():
        return gradient_penalty(lambda x: critic(x)[:, 0], real, fake, share)

    penalty().backward()
    weight = critic[0].weight
    with torch.no_grad():
        for index in ((0, 0), (2, 1)):
            kept, sides = weight[index].item(), []
            for step in (1e-5, -1e-5):
                weight[index] = kept + step
                sides.append(penalty().item())
            weight[index] = kept
            assert weight.grad[index].item() == pytest.approx(
                (sides[0] - sides[1]) / 2e-5, rel=1e-5
            )


def test_r1_and_drift_of_a_linear_critic_are_known():
    weight = torch.tensor([3.0, 4.0])
    x = torch.randn(5, 2)
    assert r1_penalty(lambda each: each @ weight, x).item() == pytest.approx(12.5)
    assert drift(torch.tensor([1.0, -3.0])).item() == 5


# Seeing the minibatch


def test_minibatch_discrimination_is_the_papers_formula():
    layer = MinibatchDiscrimination(4, 3, 2).double()
    x, t = rows(0, 5, 4), layer.projection.detach().numpy()
    found = layer(x)
    assert torch.equal(found[:, :4], x)
    m = np.einsum("bf,fkw->bkw", x.numpy(), t)
    for i in range(5):
        for b in range(3):
            o = sum(np.exp(-np.abs(m[i, b] - m[j, b]).sum()) for j in range(5))
            assert found[i, 4 + b].item() == pytest.approx(o, rel=1e-12)


def test_minibatch_discrimination_tells_a_collapsed_batch():
    layer = MinibatchDiscrimination(4, 3, 2)
    spread, same = torch.randn(8, 4), torch.ones(8, 4)
    assert torch.allclose(layer(same)[:, 4:], torch.full((8, 3), 8.0))
    with torch.no_grad():
        layer.projection.mul_(20)
    assert (layer(spread)[:, 4:] < 8).all()


def test_the_deviation_is_that_of_each_group_averaged_over_features_and_places():
    x = rows(0, 6, 3, 2, 2)
    found = MinibatchDeviation(4)(x)
    assert found.shape == (6, 4, 2, 2)
    for group in (slice(0, 4), slice(4, 6)):
        deviation = x[group].std(dim=0, correction=0).mean()
        assert torch.allclose(found[group, 3], deviation.expand(2, 2), atol=1e-7)


# Families


def test_the_clip_holds_after_every_step():
    config = WGANConfig(shape=(2,), network="dense", hidden=(16,), clip=0.02)
    model = built(WGAN, config)
    optimizer = torch.optim.RMSprop(model.critic.parameters(), 0.05)
    for step in range(5):
        loss = model.discriminator_losses(batch_of((2,)), Noise.of_rows(step, count=8))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert max(each.abs().max() for each in model.critic.parameters()) > 0.02
        model.constrain()
        assert all((each.abs() <= 0.02).all() for each in model.critic.parameters())


def test_spectral_normalisation_makes_every_layer_of_the_critic_as_long_as_one():
    config = GANConfig(shape=(2,), hidden=(16, 8), spectral=True)
    model = built(GAN, config).train()
    for step in range(50):  # power iterations, one a pass
        model.discriminator_losses(batch_of((2,)), Noise.of_rows(step, count=8))
    layers = [each for each in model.critic.modules() if isinstance(each, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=1e-3)


def test_a_penalised_critic_scores_each_row_by_itself():
    config = WGANGPConfig(shape=(1, 8, 8), channels=8)
    model = built(WGANGP, config).train()
    x = batch_of((1, 8, 8)).x
    assert torch.allclose(model.criticise(x)[2:3], model.criticise(x[2:3]), atol=1e-6)


def test_the_penalty_and_r1_are_part_of_the_loss():
    shape = (1, 8, 8)
    plain = {"shape": shape, "channels": 8, "gradient_penalty": 0}

    def losses(model):
        return model.discriminator_losses(batch_of(shape), Noise.of_rows(0, count=8))

    without = losses(built(WGANGP, WGANGPConfig(**plain)))
    for name, weight in (("gradient_penalty", 10.0), ("r1", 5.0)):
        found = losses(built(WGANGP, WGANGPConfig(**{**plain, name: weight})))
        expected = without["loss"] + weight * found[name]
        assert torch.allclose(found["loss"], expected)
        assert found[name] > 0


def test_feature_matching_compares_mean_features_and_ignores_the_score():
    model = built(GAN, GANConfig(shape=(2,), hidden=(16,), feature_matching=True))
    batch = batch_of((2,))
    found = model.generator_losses(batch, Noise.of_rows(0, count=8))["loss"]
    real = model.critic.features((batch.x - model.centre) / model.scale)
    fakes = model.generator(Noise.of_rows(0, count=8).normal((16,)))
    expected = (real.mean(dim=0) - model.critic.features(fakes).mean(dim=0)).square().sum()
    assert torch.allclose(found, expected)
    with torch.no_grad():
        model.critic.head.weight.zero_()
    again = model.generator_losses(batch, Noise.of_rows(0, count=8))
    assert torch.allclose(again["loss"], expected)


def test_an_auxiliary_classifier_is_not_told_and_its_loss_moves_both_players():
    config = ACGANConfig(shape=(1, 8, 8), channels=8, condition=CLASSES)
    model = built(ACGAN, config)
    y = torch.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]
    batch = batch_of((1, 8, 8), y=y)
    assert torch.equal(model.criticise(batch.x, y), model.criticise(batch.x, y.roll(1, 0)))
    other = Batch(batch.x, y.roll(1, 0))
    assert not torch.equal(
        model.discriminator_losses(batch, Noise.of_rows(0, count=8))["loss"],
        model.discriminator_losses(other, Noise.of_rows(0, count=8))["loss"],
    )
    assert model.classify(batch.x).sum(dim=1).tolist() == [1.0] * 8


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"objective": "wasserstein", "real_target": 0.9}, "probability"),
        ({"gradient_penalty": 10.0, "critic_normalisation": "batch"}, "each row by itself"),
        ({"deviation_group": 1}, "2 or more"),
    ],
)
def test_tricks_that_do_not_go_together_are_refused(settings, why):
    with pytest.raises(ValidationError, match=why):
        GANConfig(shape=(2,), **settings)


def test_points_are_standardized_inside_and_come_out_in_their_own_unit():
    model = built(GAN, GANConfig(shape=(2,), hidden=(8,)))
    points = 100 + 5 * torch.randn(500, 2)
    model.prepare(lambda: iter([Batch(points)]))
    assert torch.allclose(model.centre, points.mean(dim=0), atol=1e-4)
    assert (model.sample(Noise.of_rows(0, count=50)) - 100).abs().max() < 40


# Virtual batch normalisation


def test_virtual_statistics_are_those_of_the_reference_batch_and_one_row_more():
    layer = VirtualBatchNorm(2).double()
    reference, x = rows(0, 6, 2, 3, 3), rows(1, 4, 2, 3, 3)
    with collecting(layer):
        seen = layer(reference)
    assert torch.allclose(seen.mean(dim=(0, 2, 3)), torch.zeros(2).double(), atol=1e-9)
    for row in x:
        # As if the batch had the row beside the reference rows: all have as many places.
        batch = torch.cat([reference, row[None]])
        mean = batch.mean(dim=(0, 2, 3), keepdim=True)
        deviation = (batch.var(dim=(0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        expected = (row[None] - mean) / deviation
        assert torch.allclose(layer(row[None]), expected, atol=1e-9)


@pytest.mark.parametrize(
    "networks",
    [
        {"network": "dense"},
        {"network": "convolutional"},
        {"network": "convolutional", "dense_generator": True},
    ],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_virtually_normalised_rows_do_not_depend_on_their_batch(networks, is_training):
    names = ("generator_normalisation", "critic_normalisation")
    config = GANConfig(
        shape=(1, 8, 8),
        channels=8,
        hidden=(8, 8),
        **networks,
        **dict.fromkeys(names, "virtual"),
    )
    model = built(GAN, config)
    batch = batch_of((1, 8, 8), count=70)
    model.prepare(lambda: iter([batch]))
    model.train(is_training)
    model.discriminator_losses(batch, Noise.of_rows(0, count=70))
    z = Noise.of_rows(1, count=5).normal((16,))
    assert torch.allclose(model.decode(z)[3:4], model.decode(z[3:4]), atol=1e-6)
    x = batch.x[:5]
    assert torch.allclose(model.criticise(x)[3:4], model.criticise(x[3:4]), atol=1e-5)


def test_the_statistics_that_are_served_are_those_of_the_weights_served():
    config = GANConfig(
        shape=(2,), hidden=(8, 8), generator_normalisation="virtual", critic_normalisation="none"
    )
    model = built(GAN, config).train()
    model.prepare(lambda: iter([batch_of((2,), count=64)]))
    model.discriminator_losses(batch_of((2,)), Noise.of_rows(0, count=8))
    (layer,) = (each for each in model.modules() if isinstance(each, VirtualBatchNorm))
    before = layer.mean.clone()
    with torch.no_grad():
        model.generator[0].weight.mul_(3)  # as an average of weights might
    model.eval()
    assert not torch.allclose(layer.mean, before)
    again = layer.mean.clone()
    assert torch.equal(model.eval().generator[3].mean, again)


# Encoding


def test_a_learned_encoder_tells_latents_and_leaves_the_game_as_it_was():
    config = GANConfig(shape=(4,), hidden=(32,), latent_width=2, learned_encoder=True)
    model = built(GAN, config)
    with torch.no_grad():
        for layer in model.generator:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(3)
    game, stage, *_ = model.stages()
    assert game.learner is model
    kept = {name: each.clone() for name, each in model.state_dict().items()}
    with stage.with_frozen():
        learned = [each for each in stage.learner.parameters() if each.requires_grad]
        optimizer = torch.optim.Adam(learned, 5e-3)
        stage.learner.train()
        for step in range(400):
            noise = Noise.of_rows(step, count=64)
            x = model.sample(noise.stream("rows")).detach()
            loss = stage.learner.losses(Batch(x), noise, 1.0)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    changed = {name for name, each in model.state_dict().items() if not each.equal(kept[name])}
    assert {name.partition(".")[0] for name in changed} == {"encoder"}
    z = Noise.of_rows(1, count=50).normal((2,))
    x = model.decode(z)
    posterior = model.encode(x)
    assert model.inference == "amortised"
    assert (posterior.mean - z).square().mean() < 0.2
    assert torch.allclose(
        posterior.residual, (model.decode(posterior.mean) - x).square().mean(dim=1)
    )
    assert posterior.residual.mean() < 0.1 * x.var()


def test_searching_with_features_looks_at_what_the_critic_sees():
    found = {}
    for weight in (0.0, 100.0):
        config = GANConfig(shape=(3,), hidden=(8,), inversion_steps=100, inversion_features=weight)
        model = built(GAN, config).eval()
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(2)) * 3
        posterior = model.encode(x)
        made = model.decode(posterior.mean)
        apart = (model.critic.features(made) - model.critic.features(x)).square().mean()
        assert torch.allclose(posterior.residual, (made - x).square().mean(dim=1))
        found[weight] = (apart.item(), posterior.residual.mean().item())
    assert found[100.0][0] < found[0.0][0]
    assert found[100.0][1] > found[0.0][1]
