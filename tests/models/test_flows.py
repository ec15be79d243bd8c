"""Flows against autograd's Jacobians, and densities against what they must add up to."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.autograd.functional import jacobian
from torch.distributions import Normal

from metrics.bits_per_dimension import bits_per_dimension
from models import registry
from models.conditions import ConditionSchema
from models.learning import Batch
from models.networks.flow_couplings import (
    Additive,
    Affine,
    ChannelCoupling,
    MaskedCoupling,
    ResidualNetwork,
    checkerboard,
    dense_network,
    glow_network,
)
from models.networks.flow_family import LogisticPrior
from models.networks.flows import (
    ActNorm,
    Chain,
    Flatten,
    InvertibleLinear,
    Logit,
    MultiScale,
    Scaling,
    Squeeze,
    Standardize,
    random_permutation,
    random_rotation,
)
from models.networks.splines import RationalQuadratic
from models.noise import Noise
from tests.conftest import learn

PICTURE = (2, 4, 4)
VECTOR = (5,)


def randomized(module, scale=0.15, seed=0):
    """As a layer is after training: no parameter at a special value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return module.double()


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def small_dense(inputs, outputs):
    return dense_network(inputs, outputs, (7,))


def small_residual(inputs, outputs):
    return ResidualNetwork(inputs, outputs, 3, 1)


def small_glow(inputs, outputs):
    return glow_network(inputs, outputs, 3)


def spline(_):
    return RationalQuadratic(bins=4, bound=2.0)


def additive(_):
    return Additive()


LAYERS = {
    "actnorm": (lambda: ActNorm(2), PICTURE),
    "actnorm of vectors": (lambda: ActNorm(5), VECTOR),
    "scaling": (lambda: Scaling(PICTURE), PICTURE),
    "rotation": (lambda: InvertibleLinear(random_rotation(5)), VECTOR),
    "permutation": (lambda: InvertibleLinear(random_permutation(5)), VECTOR),
    "1x1 convolution": (lambda: InvertibleLinear(random_rotation(2)), PICTURE),
    "squeeze": (Squeeze, PICTURE),
    "flatten": (lambda: Flatten(PICTURE), PICTURE),
    "affine checkerboard": (
        lambda: MaskedCoupling(checkerboard(PICTURE, 0), small_residual, Affine),
        PICTURE,
    ),
    "additive odd-even": (
        lambda: MaskedCoupling(checkerboard(VECTOR, 1), small_dense, additive),
        VECTOR,
    ),
    "affine channels": (lambda: ChannelCoupling(2, small_glow, Affine), PICTURE),
    "affine channels, swapped": (lambda: ChannelCoupling(2, small_glow, Affine, True), PICTURE),
    "additive channels": (lambda: ChannelCoupling(2, small_glow, additive), PICTURE),
    "spline": (lambda: ChannelCoupling(5, small_dense, spline), VECTOR),
    "spline, swapped": (lambda: ChannelCoupling(5, small_dense, spline, True), VECTOR),
    "spline of pictures": (lambda: ChannelCoupling(2, small_glow, spline), PICTURE),
    "multi-scale": (
        lambda: MultiScale(
            [
                Chain([Squeeze(), ChannelCoupling(8, small_glow, Affine)]),
                Chain([Squeeze(), ActNorm(16)]),
            ],
            [(8, 2, 2), (16, 1, 1)],
        ),
        PICTURE,
    ),
}

NICE = {
    "network": "dense",
    "coupling": "additive",
    "prior": "logistic",
    "normalized": False,
    "logit_alpha": 0.0,
    "hidden": (16,),
}
FLOWS = {
    "realnvp": ("realnvp", {"shape": (1, 4, 4), "scales": 2, "width": 4}),
    "realnvp of colours": ("realnvp", {"shape": (3, 4, 4), "scales": 1, "width": 4}),
    "realnvp of points": ("realnvp", {"shape": (3,), "network": "dense", "hidden": (8,)}),
    "additive realnvp": (
        "realnvp",
        {"shape": (1, 4, 4), "scales": 2, "width": 4, "coupling": "additive"},
    ),
    "nice": ("realnvp", {"shape": (1, 3, 5), **NICE}),
    "glow": ("glow", {"shape": (1, 4, 4), "levels": 2, "steps": 2, "width": 4}),
    "additive glow": (
        "glow",
        {"shape": (2, 2, 4), "levels": 1, "steps": 2, "coupling": "additive"},
    ),
    "spline flow of points": ("spline_flow", {"shape": (2,), "hidden": (8,)}),
    "spline flow": ("spline_flow", {"shape": (1, 3, 3), "hidden": (8,), "logit_alpha": 1e-6}),
}


def layer_of(name):
    build, shape = LAYERS[name]
    layer = randomized(seeded(build))
    x = 1.3 * torch.randn(6, *shape, generator=torch.Generator().manual_seed(1)).double()
    return layer, x


def build(family, **config):
    return seeded(lambda: registry.build(family, config))


def pictures(shape, count=32, seed=5):
    """Uneven ones: levels near black and near white are common."""
    u = Noise.of_rows(seed, count=count).uniform(shape)
    return (255 * (3 * u**2 - 2 * u**3) ** 2).round() / 255


def flow_of(name, scale=0.1):
    """A flow that has seen data and whose parameters are none of their first values."""
    family, config = FLOWS[name]
    model = build(family, **config)
    x = pictures(config["shape"])
    randomized(model, scale)
    model.prepare(lambda: [Batch(x.double())])
    randomized(model, scale / 5, seed=1)
    return model.eval().requires_grad_(False), x


def inner(model, x):
    """x as the density is of it: dequantized pictures, or points."""
    return model.dequantize(x, Noise.of_rows(9, count=len(x))).double()


def log_determinants(f, x):
    """log |det| of the Jacobian of a map of rows, by automatic differentiation."""

    def flat(row):
        return f(row.reshape(1, *x.shape[1:])).flatten()

    return torch.stack(
        [torch.linalg.slogdet(jacobian(flat, row)).logabsdet for row in x.flatten(1)]
    )


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-8)])
def test_a_layer_is_inverted(name, dtype, tolerance):
    layer, x = layer_of(name)
    layer, x = layer.to(dtype), x.to(dtype)
    y, log_det = layer.forward(x)
    back, log_det_back = layer.inverse(y)
    assert (back - x).abs().max() < tolerance
    assert torch.allclose(log_det_back, -log_det, atol=10 * tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_s_log_determinant_is_its_jacobian_s(name):
    layer, x = layer_of(name)
    with torch.no_grad():
        _, log_det = layer.forward(x)
        expected = log_determinants(lambda row: layer.forward(row)[0], x)
    assert log_det.shape == (6,)
    assert torch.allclose(log_det, expected, atol=1e-9)


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_the_logit_is_inverted_and_its_slope_counted(alpha):
    x = torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(1)).double()
    y, log_det = Logit(alpha).forward(x)
    back, log_det_back = Logit(alpha).inverse(y)
    assert torch.allclose(back, x, atol=1e-9)
    assert torch.allclose(log_det_back, -log_det, atol=1e-9)
    assert torch.allclose(log_det, log_determinants(lambda r: Logit(alpha).forward(r)[0], x))


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-8)])
def test_decoding_an_encoding_gives_the_picture_back(name, dtype, tolerance):
    model, x = flow_of(name)
    model, x = model.to(dtype), x.to(dtype)
    z = model.encode(x).mean
    assert z.shape == (len(x), model.dimensions)
    assert (model.decode(z) - x).abs().max() < tolerance


@pytest.mark.parametrize("name", FLOWS)
def test_the_density_is_the_normal_one_of_the_latent_times_the_jacobian(name):
    """The Jacobian of everything from x' to the standard normal z, the entrance and the prior's
    quantiles included."""
    model, x = flow_of(name)
    x = inner(model, x[:4])

    def to_latent(row):
        return model.prior.to_normal(model._mapped(row)[0])

    z = to_latent(x)
    expected = Normal(0.0, 1.0).log_prob(z).sum(dim=1) + log_determinants(to_latent, x)
    assert torch.allclose(model.log_density(x), expected, atol=1e-7)


@pytest.mark.parametrize("name", FLOWS)
def test_every_number_of_a_row_is_changed_by_the_others(name):
    """No dimension slips past the couplings: each latent depends on more than one number of x,
    and each number of x reaches a latent in a way that depends on others."""
    model, x = flow_of(name, scale=0.5)
    x = inner(model, x[:1])

    def to_latent(row):
        return model._mapped(row.reshape(1, *x.shape[1:]))[0].flatten()

    slopes = jacobian(to_latent, x.flatten()).abs()
    assert ((slopes > 1e-9).sum(dim=0) > 1).all()
    assert ((slopes > 1e-9).sum(dim=1) > 1).sum() >= model.dimensions // 2


@pytest.mark.parametrize(
    ("kind", "shape"), [(MaskedCoupling, (1, 4, 4)), (ChannelCoupling, (4, 2, 2))]
)
def test_successive_couplings_move_what_the_one_before_left(kind, shape):
    model, _ = flow_of("realnvp")
    couplings = [each for each in model.layers.levels[0].layers if isinstance(each, kind)]
    assert len(couplings) == 3
    x = torch.randn(4, *shape).double()
    once, _ = couplings[0].forward(x)
    assert ((once == x).sum(dim=(1, 2, 3)) == x[0].numel() / 2).all()
    assert (couplings[1].forward(once)[0] != x).all()


def test_multi_scale_keeps_every_dimension_exactly_once():
    shape = (2, 8, 8)
    levels = MultiScale(
        [Squeeze(), Squeeze(), Squeeze()], [(8, 4, 4), (16, 2, 2), (32, 1, 1)]
    ).double()
    x = torch.arange(128.0).double().reshape(1, *shape)
    z, _ = levels.forward(x)
    assert sorted(z.flatten().tolist()) == list(range(128))
    assert torch.equal(levels.inverse(z)[0], x)
    # Half of the numbers leave after the first level, a quarter after the second.
    deep = MultiScale([Squeeze(), Scaling((16, 2, 2))], [(8, 4, 4), (4, 4, 4)])
    assert deep.parts == [(4, 4, 4), (4, 4, 4)]


def test_what_leaves_a_scale_is_not_touched_by_the_next():
    scaling = Scaling((4, 2, 2))
    scaling.tenth.data.fill_(0.1)
    levels = MultiScale([Squeeze(), scaling], [(8, 2, 2), (4, 2, 2)])
    x = torch.randn(3, *PICTURE)
    squeezed = Squeeze().forward(x)[0]
    z, log_det = levels.forward(x)
    assert torch.equal(z[:, :16], squeezed[:, 4:].flatten(1))
    assert torch.allclose(z[:, 16:], math.e * squeezed[:, :4].flatten(1))
    assert torch.allclose(log_det, torch.full((3,), 16.0))


def test_squeezing_makes_channels_of_the_four_pixels():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    y, _ = Squeeze().forward(x)
    assert y[0, :, 0, 0].tolist() == [0, 1, 4, 5]
    assert y[0, :, 1, 0].tolist() == [8, 9, 12, 13]


@pytest.mark.parametrize("shape", [(3, 5, 4), (6,)])
def test_actnorm_gives_the_first_batch_zero_mean_and_unit_variance(shape):
    x = 3 + 0.1 * torch.randn(50, *shape) * torch.arange(1, 1 + shape[0]).view(
        -1, *[1] * (len(shape) - 1)
    )
    layer = ActNorm(shape[0])
    y = layer.initialize(x)
    channels = y.detach().transpose(0, 1).flatten(1)
    assert torch.allclose(channels.mean(dim=1), torch.zeros(shape[0]), atol=1e-4)
    assert torch.allclose(channels.var(dim=1, correction=0), torch.ones(shape[0]), atol=1e-3)
    assert torch.equal(layer.forward(x)[0], y)


def test_preparing_normalizes_at_every_depth():
    """The whole model's latents are of unit variance before the first step, as every layer was
    given what the layer before it makes of the data."""
    model = build("glow", shape=(1, 8, 8), steps=3, width=8)
    x = pictures((1, 8, 8), count=400)
    model.prepare(lambda: [Batch(x)])
    for level in model.layers.levels:
        for layer in level.layers:
            if isinstance(layer, ActNorm):
                assert not torch.equal(layer.log_scale, torch.zeros_like(layer.log_scale))
    with torch.no_grad():
        z = model.encode(x).mean
    assert z.mean().abs() < 0.05
    assert 0.9 < z.var() < 1.1


def test_preparing_twice_sets_the_same():
    states = []
    for _ in range(2):
        model = build("realnvp", shape=(1, 8, 8), scales=2, width=8)
        x = pictures((1, 8, 8))
        model.prepare(lambda x=x: [Batch(x)])
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_additive_couplings_keep_volumes_and_the_scaling_alone_changes_them():
    model, x = flow_of("nice")
    (couplings, scaling) = model.layers.layers
    assert isinstance(scaling, Scaling)
    inside = inner(model, x)
    h, log_det = couplings.forward(inside)
    assert not torch.allclose(h, inside.flatten(1), atol=1e-2)
    assert torch.equal(log_det, torch.zeros(len(x)).double())
    assert torch.allclose(model._mapped(inside)[1], scaling.log_scale.sum().expand(len(x)))


def test_a_scaling_starts_with_a_first_batch_of_mean_square_one():
    x = torch.randn(50, 3) * torch.tensor([0.001, 1.0, 7.0]) + torch.tensor([0.002, 0.0, -1.0])
    layer = Scaling((3,))
    y = layer.initialize(x)
    assert torch.allclose(y.square().mean(dim=0), torch.ones(3), atol=1e-4)
    assert torch.equal(layer.initialize(torch.zeros(5, 3)), torch.zeros(5, 3))


def test_an_affine_coupling_s_log_scale_stays_within_its_amplitude():
    transform = Affine(3)
    transform.amplitude.data = torch.tensor([0.5, 1.0, 2.0])
    parameters = 100 * torch.randn(8, 6)
    _, log_slopes = transform(torch.randn(8, 3), parameters)
    assert torch.allclose(log_slopes.abs().max(dim=0).values, transform.amplitude)


def test_what_is_factored_out_is_normal_given_what_stays():
    """Glow's learned mean and variance: one more affine coupling, over a standard normal."""
    layer = randomized(seeded(lambda: ChannelCoupling(8, small_glow, Affine)))
    x = torch.randn(5, 8, 2, 2).double()
    z, log_det = layer.forward(x)
    got = Normal(0.0, 1.0).log_prob(z).flatten(1).sum(dim=1) + log_det
    raw, t = layer.network(x[:, :4]).chunk(2, dim=1)
    s = raw.tanh() * layer.transform.amplitude.view(-1, 1, 1)
    leaving = Normal(-t * (-s).exp(), (-s).exp()).log_prob(x[:, 4:])
    staying = Normal(0.0, 1.0).log_prob(x[:, :4])
    assert torch.allclose(got, (leaving + staying).flatten(1).sum(dim=1))
    levels = build("glow", shape=(1, 8, 8), levels=3, steps=1).layers.levels
    ends = [type(level.layers[-1].network) for level in levels]
    assert ends == [nn.Conv2d, nn.Conv2d, nn.Sequential]  # the last level factors nothing out


def spline_at(x, seed=0, scale=2.0):
    parameters = scale * torch.randn(1, 11, generator=torch.Generator().manual_seed(seed))
    transform = RationalQuadratic(bins=4, bound=2.0).double()
    return transform(x[:, None], parameters.double().expand(len(x), -1))


def test_splines_are_the_identity_outside_their_interval():
    x = torch.tensor([-50.0, -2.0001, -2.0, 2.0, 2.5, 1e6]).double()
    y, log_slopes = spline_at(x)
    assert torch.equal(y[:, 0], x)
    assert torch.equal(log_slopes, torch.zeros(6, 1).double())


@pytest.mark.parametrize("seed", range(5))
def test_splines_are_monotone_and_smooth(seed):
    x = torch.linspace(-2.2, 2.2, 20_001).double()
    y, log_slopes = spline_at(x, seed, scale=1.0)
    rises = y[1:, 0] - y[:-1, 0]
    assert (rises > 0).all()
    assert y.abs().max() < 2.2001
    # The slope said is the slope that is, and it is continuous, at the knots and at the ends.
    slopes = log_slopes[:, 0].exp()
    between = (slopes[1:] + slopes[:-1]) / 2
    assert torch.allclose(rises / (x[1] - x[0]), between, rtol=0.02, atol=1e-3)


def test_splines_of_zero_parameters_are_the_identity():
    x = torch.linspace(-3, 3, 101).double()
    y, log_slopes = spline_at(x, scale=0.0)
    assert torch.allclose(y[:, 0], x, atol=1e-12)
    assert torch.allclose(log_slopes, torch.zeros_like(log_slopes), atol=1e-12)


def test_splines_bend():
    y, _ = spline_at(torch.linspace(-1.9, 1.9, 50).double())
    assert (y[:, 0] - torch.linspace(-1.9, 1.9, 50)).abs().max() > 0.1


def test_the_logistic_prior_goes_to_the_normal_and_back_however_far_out():
    h = torch.tensor([[-3000.0, -90.0, -3.0, -1e-3, 0.0, 1e-6, 0.7, 20.0, 3000.0]]).double()
    prior = LogisticPrior()
    z = prior.to_normal(h)
    assert torch.allclose(prior.from_normal(z), h, rtol=1e-9, atol=1e-9)
    assert torch.allclose(prior.from_normal(prior.to_normal(h.float())).double(), h, rtol=1e-5)
    near = h[:, 2:7]
    assert torch.allclose(Normal(0.0, 1.0).cdf(prior.to_normal(near)), near.sigmoid())


def test_draws_through_the_logistic_prior_are_logistic():
    z = Noise.of_rows(3, count=20_000).normal((1,))
    h = LogisticPrior().from_normal(z).flatten().sort().values
    ranks = (torch.arange(20_000) + 0.5) / 20_000
    assert (h.sigmoid() - ranks).abs().max() < 0.015  # Kolmogorov's statistic, 1 % at 0.0115


# Points ------------------------------------------------------------------------------------------

POINT_FLOWS = {
    "realnvp": {"network": "dense", "couplings": 6, "hidden": (32, 32)},
    "spline_flow": {"couplings": 2, "hidden": (32,)},
}


def moons(count=4000):
    generator = torch.Generator().manual_seed(4)
    angle = math.pi * torch.rand(count, generator=generator)
    upper = torch.rand(count, generator=generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    noise = 0.1 * torch.randn(count, 2, generator=generator)
    return torch.stack([5 + 2 * x, 10 * y], dim=1) + noise * torch.tensor([2.0, 10.0])


@pytest.fixture(scope="module", params=POINT_FLOWS)
def of_moons(request):
    """A flow after a short training on moons that are neither centred nor of unit scale."""
    model = build(request.param, shape=(2,), **POINT_FLOWS[request.param])
    points = moons()
    learn(model, [Batch(part) for part in points.split(200)], epochs=10)
    return model.eval().requires_grad_(False), points


def grid(points, steps=400):
    """Cells around the data, several times as wide: middles (N, 2), and the volume of one."""
    low, high = points.min(dim=0).values, points.max(dim=0).values
    low, high = low - 1.0 * (high - low), high + 1.0 * (high - low)
    axes = [low[k] + (high[k] - low[k]) * (torch.arange(steps) + 0.5) / steps for k in (0, 1)]
    return torch.cartesian_prod(*axes), ((high - low) / steps).prod().item()


def test_a_density_integrates_to_one(of_moons):
    model, points = of_moons
    places, volume = grid(points)
    found = model.log_prob(places, Noise.of_rows(0, count=len(places)))
    assert found.kind == "exact"
    assert found.measure == "density"
    assert abs(found.nats.double().exp().sum().item() * volume - 1) < 0.01


def test_a_flow_learns_what_a_normal_distribution_cannot(of_moons):
    model, points = of_moons
    normal = torch.distributions.MultivariateNormal(points.mean(dim=0), points.T.cov())
    nats = model.log_prob(points, Noise.of_rows(0, count=len(points))).nats.mean()
    assert nats > normal.log_prob(points).mean() + 0.3


def test_samples_lie_where_the_density_says(of_moons):
    model, points = of_moons
    places, volume = grid(points)
    mass = model.log_prob(places, Noise.of_rows(0, count=len(places))).nats.exp() * volume
    samples = model.sample(Noise.of_rows(1, count=8000))
    middle = points.mean(dim=0)
    for right in (True, False):
        for up in (True, False):
            wanted = torch.tensor([right, up])
            share = ((samples > middle) == wanted).all(dim=1).float().mean()
            expected = mass[((places > middle) == wanted).all(dim=1)].sum()
            assert abs(share - expected) < 0.02


def test_points_in_other_units_have_the_density_of_those_units():
    densities = []
    for unit in (1.0, 1000.0):
        model = build("spline_flow", shape=(2,), hidden=(8,))
        points = unit * moons(500)
        model.prepare(lambda points=points: list(map(Batch, points.split(100))))
        densities.append(model.log_density(points))
        standard = next(each for each in model.entrance.layers if isinstance(each, Standardize))
        inside = standard.forward(points)[0]
        assert torch.allclose(inside.mean(dim=0), torch.zeros(2), atol=1e-4)
        assert torch.allclose(inside.std(dim=0, correction=0), torch.ones(2), atol=1e-4)
    assert torch.allclose(densities[0], densities[1] + 2 * math.log(1000), atol=1e-3)


def test_points_are_scored_exactly_whatever_the_effort(of_moons):
    model, points = of_moons
    found = [model.log_prob(points[:5], Noise.of_rows(0, count=5), effort) for effort in (1, 30)]
    assert torch.equal(found[0].nats, found[1].nats)
    assert found[1].kind == "exact"
    assert torch.equal(found[1].standard_error, torch.zeros(5))


# Pictures ----------------------------------------------------------------------------------------


def untrained(**config):
    """x' itself is standard normal, number by number: the couplings do nothing yet."""
    settings = {"network": "dense", "normalized": False, "logit_alpha": 0.0, **config}
    return build("realnvp", shape=(1, 2, 2), **settings)


def test_bits_per_dimension_are_those_of_the_discrete_picture():
    """The mass of a level is the integral of the density over its cell, known for a normal."""
    model = untrained()
    x = torch.tensor([[0.0, 255.0, 128.0, 3.0], [1.0, 2.0, 254.0, 60.0]]).reshape(2, 1, 2, 2) / 255
    level = (255 * x).double()
    normal = Normal(torch.tensor(0.0).double(), 1.0)
    mass = (normal.cdf((level + 1) / 256) - normal.cdf(level / 256)).flatten(1).log().sum(dim=1)
    found = model.log_prob(x, Noise.of_rows(0, count=2), 200)
    assert found.kind == "lower_bound"
    assert found.measure == "density"
    bits = bits_per_dimension(found.nats, 4, found.measure, 256)
    assert torch.allclose(bits.double(), -mass / (4 * math.log(2)), atol=1e-4)


def test_without_a_logit_or_with_one_the_unit_of_volume_is_the_same():
    """The density of x' integrates to what the flow gives to the unit cube: at most one, and all
    of it but the margins under a logit."""
    middles = (torch.arange(200).double() + 0.5) / 200
    u = torch.cartesian_prod(middles, middles).reshape(-1, 1, 1, 2)
    masses = []
    for alpha in (0.0, 0.05):
        model = build(
            "realnvp", shape=(1, 1, 2), network="dense", hidden=(4,), logit_alpha=alpha
        ).double()
        masses.append(model.log_density(u).exp().mean().item())
    normal = Normal(0.0, 1.0)
    one = torch.tensor(1.0)
    assert masses[0] == pytest.approx((normal.cdf(one) - 0.5).item() ** 2, rel=0.01)
    edge = torch.logit(torch.tensor(0.95))
    assert masses[1] == pytest.approx((2 * normal.cdf(edge) - 1).item() ** 2, rel=0.01)


def test_the_bound_rises_with_effort_and_tells_its_error():
    model, x = flow_of("realnvp")
    model = model.float()
    means = []
    for effort in (1, 10, 100):
        each = [model.log_prob(x, Noise.of_rows(s, count=len(x)), effort) for s in range(10)]
        means.append(torch.stack([found.nats for found in each]).mean())
    assert means[0] < means[1] < means[2]
    assert each[0].standard_error.isfinite().all()
    assert (each[0].standard_error > 0).all()
    spread = torch.stack([found.nats for found in each]).std(dim=0)
    assert 0.5 < (spread / each[0].standard_error).median() < 2
    assert model.log_prob(x, Noise.of_rows(0, count=len(x)), 1).standard_error.isnan().all()


def test_a_row_s_draws_are_the_same_whatever_the_effort():
    model, x = flow_of("glow")
    model = model.float()
    single = [
        model.log_density((255 * x + u) / 256)
        for u in Noise.of_rows(3, count=len(x))
        .stream("dequantization")
        .uniform((25, 1, 4, 4))
        .transpose(0, 1)
    ]
    for effort in (1, 12, 25):
        expected = torch.stack(single[:effort]).logsumexp(dim=0) - math.log(effort)
        found = model.log_prob(x, Noise.of_rows(3, count=len(x)), effort).nats
        assert torch.allclose(found, expected, atol=1e-3)


def test_a_sample_rounds_to_the_cell_that_the_flow_put_it_in():
    model = untrained()
    z = (torch.tensor([[7.01, 7.99, 0.3, 255.9]]) + 0.0) / 256
    levels = (255 * model.decode(z)).round().flatten().tolist()
    assert levels == [7, 7, 0, 255]


@pytest.mark.parametrize(
    ("family", "shape", "config", "parts"),
    [
        ("realnvp", (1, 28, 28), {"scales": 3}, [(2, 14, 14), (4, 7, 7), (4, 7, 7)]),
        ("realnvp", (1, 8, 8), {"scales": 3}, [(2, 4, 4), (4, 2, 2), (4, 2, 2)]),
        ("realnvp", (1, 9, 7), {"scales": 1}, [(1, 9, 7)]),
        ("glow", (1, 28, 28), {"levels": 2}, [(2, 14, 14), (8, 7, 7)]),
        ("glow", (3, 32, 32), {"levels": 3}, [(6, 16, 16), (12, 8, 8), (48, 4, 4)]),
    ],
)
def test_sizes_of_the_scales(family, shape, config, parts):
    model = build(family, shape=shape, width=4, **config)
    found = model.layers.parts
    assert found == parts
    assert sum(map(math.prod, found)) == model.dimensions
    x = pictures(shape, count=2)
    assert torch.allclose(model.decode(model.encode(x).mean), x, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        ("realnvp", {"shape": (1, 28, 28), "scales": 4}, "cannot be halved 3 times"),
        ("realnvp", {"shape": (1, 9, 9), "scales": 2}, "9 x 9 pixels cannot be halved 1 times"),
        ("realnvp", {"shape": (2,)}, "points need network = 'dense'"),
        ("realnvp", {"shape": (1,), "network": "dense"}, "at least two"),
        ("glow", {"shape": (1, 28, 28), "levels": 3}, "halved 2 times without a rest, not 3"),
        ("glow", {"shape": (2,)}, "about pictures"),
        ("spline_flow", {"shape": (3, 32, 32)}, "too long for one linear layer"),
        ("spline_flow", {"shape": (4, 4)}, "points, shape"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(family, config, message):
    with pytest.raises(ValidationError, match=message):
        registry.family(family).config_type.model_validate(config)


@pytest.mark.parametrize("family", ["realnvp", "glow", "spline_flow"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 9, 8), (2,)])
def test_tiny_configurations_fit_their_data(family, shape):
    config_type = registry.family(family).config_type
    if family == "glow" and shape in ((1, 9, 8), (2,)):
        with pytest.raises(ValidationError):
            config_type.tiny(shape, ConditionSchema())
        return
    model = build(family, **config_type.tiny(shape, ConditionSchema()).model_dump())
    assert model.sample(Noise.of_rows(0, count=2)).shape == (2, *shape)
