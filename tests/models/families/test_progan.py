"""Growing by definition: fading in, what each level sees, learning rates, the sphere."""

import pytest
import torch
from pydantic import ValidationError

from models.families.progan import ProGAN, ProGANConfig
from models.learning import Batch, stages_of
from models.networks.growing import EqualizedLayer, doubled, halved
from models.networks.pixel_norm import PixelNorm
from models.noise import Noise

X = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def built(**settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = {"shape": (1, 16, 16), "channels": 8, "latent_width": 6, **settings}
        return ProGAN(ProGANConfig(**config))


def latents(count=4):
    return Noise.of_rows(1, count=count).normal((6,))


def test_a_level_of_which_nothing_shows_is_the_one_before_it_doubled():
    model, z = built(), latents()
    for level in (1, 2):
        model.grow(level - 1, 1.0)
        old, seen = model._generated(z, None), model._score(model._inside(X), None)
        model.grow(level, 0.0)
        assert torch.equal(model._generated(z, None), doubled(old))
        assert torch.allclose(model._score(model._inside(X), None), seen, atol=1e-6)


def test_a_level_that_is_all_there_owes_nothing_to_the_blend():
    model, z = built(), latents()
    model.grow(2, 1.0)
    before = model._generated(z, None), model._score(2 * X - 1, None)
    with torch.no_grad():
        for old in (model.generator.to_pictures[1], model.critic.from_pictures[1][0]):
            old.weight.add_(1)
    assert torch.equal(model._generated(z, None), before[0])
    assert torch.equal(model._score(2 * X - 1, None), before[1])


def test_in_between_pictures_and_fakes_are_blended_alike():
    model, z = built(), latents()
    model.grow(2, 0.0)
    faded = model._generated(z, None)
    model.grow(2, 1.0)
    whole = model._generated(z, None)
    model.grow(2, 0.25)
    assert torch.allclose(model._generated(z, None), 0.75 * faded + 0.25 * whole, atol=1e-6)
    inside = 2 * X - 1
    expected = 0.75 * doubled(halved(inside)) + 0.25 * inside
    assert torch.allclose(model._inside(X), expected, atol=1e-6)


def test_every_level_makes_and_sees_pictures_of_its_size_and_shows_them_whole():
    model, z = built(), latents()
    for level, side in ((0, 4), (1, 8), (2, 16)):
        model.grow(level, 1.0)
        assert model._generated(z, None).shape == (4, 1, side, side)
        assert model._inside(X).shape == (4, 1, side, side)
        shown = model.decode(z)
        assert shown.shape == (4, 1, 16, 16)
        blocks = shown.unflatten(3, (side, -1)).unflatten(2, (side, -1))
        assert (blocks == blocks[:, :, :, :1, :, :1]).all()


def test_the_parts_of_the_training_fade_and_hold_each_level():
    model = built()
    names = [stage.name for stage in stages_of(model)]
    assert names == ["hold_4", "fade_8", "hold_8", "fade_16", "hold_16"]
    fade = stages_of(model)[3].learner
    for progress in (0.0, 0.5):
        fade.begin_step(progress)
        assert (int(model.level), float(model.alpha)) == (2, progress)
    hold = stages_of(model)[4].learner
    hold.begin_step(0.5)
    assert (int(model.level), float(model.alpha)) == (2, 1.0)
    assert [stage.name for stage in stages_of(built(growing=False))] == ["model"]


def test_levels_that_are_not_there_yet_do_not_learn():
    model = built()
    learner = stages_of(model)[1].learner
    learner.begin_step(0.5)
    batch, noise = Batch(X), Noise.of_rows(0, count=4)
    learner.discriminator_losses(batch, noise)["loss"].backward()
    learner.generator_losses(batch, noise)["loss"].backward()
    for stages in (model.generator.stages, model.critic.stages):
        learned = [
            all(each.grad is not None for each in stage.parameters() if each.dim() > 1)
            for stage in stages
        ]
        assert learned == [True, True, False]


@pytest.mark.parametrize("equalized", [True, False])
def test_equalized_steps_are_as_long_whatever_the_fan_in(equalized):
    """Of a step of Adam in the weights that are used, against their own size."""
    shares = []
    for inputs in (4, 400):
        torch.manual_seed(0)
        layer = EqualizedLayer(inputs, 64, 3, equalized=equalized)
        used = layer.weight.detach() * layer.scale
        assert used.std().item() == pytest.approx((2 / (9 * inputs)) ** 0.5, rel=0.05)
        optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
        layer(torch.randn(2, inputs, 4, 4)).square().sum().backward()
        optimizer.step()
        moved = (layer.weight.detach() * layer.scale - used).abs().mean()
        shares.append((moved / used.std()).item())
    ratio = shares[1] / shares[0]
    assert ratio == pytest.approx(1, rel=0.02) if equalized else ratio > 5


def test_equalized_layers_keep_variances():
    torch.manual_seed(0)
    x = torch.randn(16, 100, 8, 8)
    through = torch.nn.functional.relu(EqualizedLayer(100, 100, 3)(x))
    # E[relu(h)^2] = Var[h] / 2: what a ReLU loses, the gain gives back. Borders see zeros.
    assert through[:, :, 1:-1, 1:-1].square().mean().item() == pytest.approx(1, rel=0.1)


def test_features_of_a_place_have_length_one_a_feature():
    x = torch.randn(2, 5, 3, 3)
    assert torch.allclose(PixelNorm()(x).square().mean(dim=1), torch.ones(2, 3, 3), atol=1e-5)


def test_latents_lie_on_a_sphere():
    model, z = built(), latents()
    assert torch.allclose(model.decode(z), model.decode(5 * z), atol=1e-5)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValidationError, match="convolutional"):
        built(network="dense")
    with pytest.raises(ValidationError, match="one size"):
        built(generator_normalisation="virtual")
    with pytest.raises(ValidationError, match="equalized"):
        built(spectral=True)
