"""Diffusion against closed forms: schedules, and a Gaussian data law, whose best denoiser, density
and conditional laws are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from models.conditions import ConditionSchema
from models.errors import InvalidInput, InvalidPicture, NotSupported, WrongShape
from models.families.diffusion import Diffusion, DiffusionConfig
from models.learning import Batch
from models.networks.diffusion_bound import (
    gaussian_mass,
    prior_divergence,
    step_divergence,
    variance_of_stratified_mean,
)
from models.networks.diffusion_schedules import Schedule, estimates, target
from models.networks.unet import Attention, UNet
from models.noise import Noise
from models.steps import Chains, finished

CLASSES = ConditionSchema.of_classes(("a", "b", "c"))
MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.5, 0.27], [0.27, 0.3]], dtype=torch.float64)
TIMES = torch.tensor([1, 2, 3, 10, 40, 99, 100])


class GaussianDenoiser(nn.Module):
    """E[x_0 | x_t] of data from N(mean, covariance), as a network that predicts `kind`."""

    def __init__(self, schedule, kind, mean, covariance):
        super().__init__()
        self.table, self.kind = schedule.log_ratios(), kind
        self.mean, (self.variances, self.axes) = mean, torch.linalg.eigh(covariance)

    def forward(self, x, t, y=None, is_dropped=None):
        place = (t.double() - 1).clamp(0, len(self.table) - 1)
        below = place.floor().long().clamp(max=len(self.table) - 2)
        ratio = torch.lerp(self.table[below], self.table[below + 1], place - below)
        a, s = (-2 * ratio).sigmoid().sqrt()[:, None], (2 * ratio).sigmoid().sqrt()[:, None]
        flat = x.flatten(1).double()
        gain = a * self.variances / (a**2 * self.variances + s**2)
        x0 = self.mean + gain * ((flat - a * self.mean) @ self.axes) @ self.axes.T
        return target(self.kind, x0, (flat - a * x0) / s, a, s).to(x.dtype).reshape(x.shape)


def gaussian_model(shape=(2,), mean=MEAN, covariance=COVARIANCE, **settings):
    """A model that knows the law of its data, which is N(mean, covariance) standardized."""
    model = Diffusion(DiffusionConfig(shape=shape, **settings))
    kind = model.config.prediction
    model.denoiser.network = GaussianDenoiser(model.schedule, kind, mean, covariance)
    return model.eval().requires_grad_(False)


def small_unet(**settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = DiffusionConfig.tiny((1, 8, 8), CLASSES)
        model = Diffusion(config.model_copy(update=settings))
    return model.eval().requires_grad_(False)


def labels(rows):
    return torch.eye(3)[torch.arange(rows) % 3]


def normal_points(rows, seed=0):
    noise = Noise.of_rows(seed, count=rows).stream("data").normal((2,)).double()
    return (MEAN + noise @ torch.linalg.cholesky(COVARIANCE).T).float()


# Schedules


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("timesteps", [2, 50, 1000])
def test_less_and_less_is_left_of_the_picture(name, timesteps):
    alpha_bar = Schedule(name, timesteps).alpha_bar
    assert alpha_bar[0] == 1
    assert (alpha_bar.diff() < 0).all()
    assert alpha_bar[-1] > 0
    if timesteps >= 50:
        assert alpha_bar[-1] < 1e-3


def test_the_linear_schedule_is_that_of_the_paper():
    schedule, t = Schedule("linear", 1000), torch.arange(1, 1001)
    expected = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    assert torch.allclose(schedule.beta(t - 1, t), expected, rtol=1e-9)


def test_the_cosine_schedule_is_its_formula():
    schedule = Schedule("cosine", 1000)
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1000)]
    expected = torch.tensor(f, dtype=torch.float64) / f[0]
    assert torch.allclose(schedule.alpha_bar[:-1], expected, rtol=1e-9)
    assert schedule.beta(torch.tensor(999), torch.tensor(1000)).item() == pytest.approx(0.999)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_reverse_law_is_that_of_bayes(name):
    """q(x_s | x_t, x_0) is proportional to q(x_t | x_s) q(x_s | x_0): precisions add."""
    schedule = Schedule(name, 100)
    s, t = torch.tensor([1, 1, 30, 98]), torch.tensor([2, 70, 60, 100])
    x0, x_t = torch.tensor([0.3, -1.0, 0.7, 2.0]).double(), torch.tensor([1.0, 0.2, -1, 0]).double()
    beta, early = schedule.beta(s, t), schedule.alpha_bar[s]
    precision = (1 - beta) / beta + 1 / (1 - early)
    mean = ((1 - beta).sqrt() / beta * x_t + early.sqrt() / (1 - early) * x0) / precision
    reverse = schedule.reverse(s, t)
    assert torch.allclose(reverse.variance, 1 / precision, rtol=1e-10)
    assert torch.allclose(reverse.of_x0 * x0 + reverse.of_xt * x_t, mean, rtol=1e-10)


@pytest.mark.parametrize("kind", ["epsilon", "x0", "v"])
def test_a_right_prediction_gives_back_picture_and_noise(kind):
    schedule = Schedule("linear", 100)
    a, s = schedule.scales(TIMES)
    x0, epsilon = torch.randn(
        2, len(TIMES), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    found = estimates(kind, target(kind, x0, epsilon, a, s), a * x0 + s * epsilon, a, s)
    assert torch.allclose(found[0], x0, atol=1e-10)
    assert torch.allclose(found[1], epsilon, atol=1e-10)


@pytest.mark.parametrize("kind", ["epsilon", "x0", "v"])
def test_both_estimates_of_a_wrong_prediction_make_up_the_noisy_picture(kind):
    a, s = Schedule("cosine", 100).scales(TIMES)
    x, said = torch.linspace(-2, 2, len(TIMES)).double(), torch.linspace(1, -1, len(TIMES)).double()
    x0, epsilon = estimates(kind, said, x, a, s)
    assert torch.allclose(a * x0 + s * epsilon, x, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 99, 100])
def test_respaced_times_go_from_nothing_to_all(steps):
    schedule = Schedule("linear", 100)
    times = schedule.respaced(torch.arange(steps + 1), torch.tensor(steps))
    assert times[0] == 0
    assert times[-1] == 100
    assert (times.diff() >= 100 // steps).all()


def test_times_between_are_linear_in_the_logarithm_of_the_ratio():
    schedule = Schedule("cosine", 100)
    ratios = schedule.log_ratios()
    assert schedule.time_of(float(ratios[6])).item() == pytest.approx(7)
    assert schedule.time_of(float(ratios[6:8].mean())).item() == pytest.approx(7.5)
    assert schedule.time_of(float(ratios[-1])).item() == pytest.approx(100)


# Sampling


@pytest.mark.parametrize(
    ("schedule", "prediction"), [("linear", "epsilon"), ("cosine", "v"), ("linear", "x0")]
)
def test_many_steps_carry_noise_to_the_law_of_the_data(schedule, prediction):
    model = gaussian_model(schedule=schedule, prediction=prediction, steps=1000)
    x = model.sample(Noise.of_rows(0, count=2000)).double()
    assert torch.allclose(x.mean(dim=0), MEAN, atol=0.05)
    assert torch.allclose(x.T.cov(), COVARIANCE, atol=0.04)


def test_the_path_is_that_of_the_flow():
    """Along each axis of the covariance the flow is z -> mean + deviation z, but for what of x_0
    is left in x_T."""
    deviation = torch.tensor([0.4, 1.5]).double()
    model = gaussian_model(covariance=deviation.square().diag(), steps=1000)
    z = Noise.of_rows(0, count=50).normal((2,))
    a, s = model.schedule.scales(torch.tensor(1000))
    spread = (a**2 * deviation**2 + s**2).sqrt()
    expected = MEAN + deviation * (z.double() - a * MEAN) / spread
    assert torch.allclose(model.decode(z).double(), expected, atol=0.02)


def test_decoding_what_was_encoded_gives_it_back_the_better_the_more_steps():
    x = normal_points(100)
    errors = []
    for steps in (20, 200, 1000):
        model = gaussian_model(steps=steps)
        errors.append((model.decode(model.encode(x).mean) - x).square().mean().sqrt().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_encodings_of_data_are_standard_normal():
    z = gaussian_model(steps=1000).encode(normal_points(2000)).mean.double()
    assert torch.allclose(z.mean(dim=0), torch.zeros(2).double(), atol=0.07)
    assert torch.allclose(z.T.cov(), torch.eye(2).double(), atol=0.1)


def test_decoding_and_encoding_tell_how_many_steps_are_left():
    model = gaussian_model(steps=5)
    x = normal_points(3)
    assert list(model.decoding(x)) == [4, 3, 2, 1, 0]
    assert list(model.encoding(x)) == [4, 3, 2, 1, 0]


def test_ancestral_steps_have_the_mean_and_variance_of_the_reverse_law():
    model = gaussian_model(timesteps=100, steps=20)
    chains = model.begin(Noise.of_rows(0, count=5), steps=20, options={"eta": 1})
    chains = model.advance(model.advance(chains))
    t, s = torch.full((5,), 90), torch.full((5,), 85)
    reverse = model.schedule.reverse(s, t)
    x = chains.tensors["x"].double()
    x0, _ = model.denoiser.estimates(chains.tensors["x"], t, None)
    mean = reverse.of_x0[:, None] * x0 + reverse.of_xt[:, None] * x
    noise = chains.noise("ancestral").normal((2,))
    expected = mean + reverse.variance.sqrt()[:, None] * noise
    assert torch.allclose(model.advance(chains).tensors["x"].double(), expected, atol=1e-5)


def test_rows_at_different_times_do_as_they_do_alone():
    model = small_unet()
    several = [
        model.begin(Noise.of_rows(3, row), labels(1), steps, {"eta": eta, "guidance": guidance})
        for row, (steps, eta, guidance) in enumerate([(8, 0, 1), (8, 1, 1), (5, 0.5, 4)])
    ]
    for row, count in enumerate([4, 1, 2]):
        for _ in range(count):
            several[row] = model.advance(several[row])
    together = model.advance(Chains.joined(several))
    for row, alone in enumerate(several):
        wanted = model.advance(alone)
        assert torch.allclose(together.tensors["x"][row], wanted.tensors["x"][0], atol=1e-5)
        preview = model.finish(together)[row]
        assert torch.allclose(preview, model.finish(wanted)[0], atol=1e-4)
    assert torch.allclose(model.run_to_end(together)[2], model.run_to_end(several[2])[0], atol=1e-4)


def test_a_preview_is_the_predicted_picture():
    model = gaussian_model(timesteps=100)
    chains = model.begin(Noise.of_rows(0, count=3), steps=10)
    expected, _ = model.denoiser.estimates(chains.tensors["x"], torch.full((3,), 100), None)
    assert torch.equal(model.finish(chains), expected)


def test_wrong_steps_and_options_are_refused():
    model = gaussian_model(timesteps=100)
    noise = Noise.of_rows(0)
    with pytest.raises(InvalidInput, match="steps go from 1 to 100, got 101"):
        model.begin(noise, steps=101)
    with pytest.raises(InvalidInput, match="no option 'etta'; did you mean 'eta'"):
        model.begin(noise, options={"etta": 1})
    with pytest.raises(InvalidInput, match="eta goes from 0 to 1, got 2"):
        model.begin(noise, options={"eta": 2})
    with pytest.raises(InvalidInput, match="no option 'guidance'"):
        model.begin(noise, options={"guidance": 2})


# Guidance


def test_guidance_is_its_formula():
    denoiser, t = small_unet().denoiser, torch.tensor([20, 7, 3])
    x, y, every = Noise.of_rows(0, count=3).normal((1, 8, 8)), labels(3), torch.ones(3).bool()
    named, unnamed = denoiser.network(x, t, y), denoiser.network(x, t, y, every)
    assert not torch.allclose(named, unnamed, atol=1e-3)
    w = torch.tensor([0.0, 1.0, 3.5])
    expected = unnamed + w[:, None, None, None] * (named - unnamed)
    assert torch.allclose(denoiser.guided(x, t, y, w), expected, atol=1e-5)


def test_guidance_of_one_is_none():
    model = small_unet()
    noise = Noise.of_rows(0, count=2)
    chains = model.begin(noise, labels(2), options={"guidance": 1})
    x, t = chains.tensors["x"], torch.full((2,), 50)
    guided = model.denoiser.guided(x, t, labels(2), torch.ones(2))
    assert torch.equal(guided, model.denoiser.network(x, t, labels(2)))
    assert torch.equal(model.run_to_end(chains), model.sample(Noise.of_rows(0, count=2), labels(2)))


def test_a_dropped_condition_is_not_looked_at():
    network, x, t = small_unet().denoiser.network, torch.ones(2, 1, 8, 8), torch.tensor([5, 5])
    y, dropped = labels(2), torch.tensor([True, True])
    alike = network(x, t, y, dropped)
    assert torch.allclose(alike[0], alike[1], atol=1e-6)
    apart = network(x, t, y, torch.tensor([True, False]))
    assert torch.allclose(apart[0], alike[0], atol=1e-6)
    assert not torch.allclose(apart[1], alike[1], atol=1e-3)


def test_conditions_are_dropped_as_often_as_the_configuration_says():
    model, seen = small_unet(condition_dropout=0.3), []
    model.denoiser.network.register_forward_hook(lambda _, given, __: seen.append(given[3]))
    x = torch.zeros(1000, 1, 8, 8)
    model.losses(Batch(x, labels(1000)), Noise.of_rows(0, count=1000), 0.5)
    assert seen[0].double().mean().item() == pytest.approx(0.3, abs=0.05)


# Likelihood


def test_levels_have_the_mass_of_their_intervals_and_sum_to_one():
    levels = (torch.arange(256) / 255 * 2 - 1)[:, None]
    mean, variance = torch.full((256, 1), 0.31), torch.tensor(0.3**2).double()
    nats = gaussian_mass(levels, mean, variance)
    assert nats.exp().sum().item() == pytest.approx(1)
    law = Normal(mean.double(), 0.3)
    inside = law.cdf(levels + 1 / 255) - law.cdf(levels - 1 / 255)
    assert torch.allclose(nats[1:-1], inside[1:-1, 0].log(), rtol=1e-4)


def test_masses_far_out_in_a_tail_are_finite():
    x = torch.tensor([[-0.6], [0.6]])
    nats = gaussian_mass(x, -x, torch.tensor(1e-4).double())
    assert nats.isfinite().all()
    assert nats[0].item() == pytest.approx(nats[1].item(), rel=0.02)
    # The nearer edge of the level decides: 1.2 - 1/255 is 119.6 deviations of 0.01.
    assert nats[0].item() == pytest.approx(-0.5 * 119.6**2, rel=0.01)


@pytest.mark.parametrize("of", ["beta", "posterior"])
def test_the_divergence_of_a_step_agrees_with_torch(of):
    schedule, t = Schedule("cosine", 100), torch.tensor([2, 3, 50, 100])
    x0, estimate, x_t = torch.randn(
        3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    reverse = schedule.reverse(t - 1, t)
    variance = schedule.beta(t - 1, t) if of == "beta" else reverse.variance
    along = [value[:, None] for value in reverse]
    q = Normal(along[0] * x0 + along[1] * x_t, along[2].sqrt())
    p = Normal(along[0] * estimate + along[1] * x_t, variance.sqrt()[:, None])
    expected = kl_divergence(q, p).sum(dim=1)
    error = (x0 - estimate).square().sum(dim=1)
    assert torch.allclose(step_divergence(error, 6, t, schedule, of), expected, rtol=1e-9)


def test_the_divergence_from_the_prior_agrees_with_torch():
    schedule, x0 = Schedule("linear", 100), torch.linspace(-1, 1, 12).reshape(2, 6).double()
    a, s = schedule.scales(torch.tensor(100))
    expected = kl_divergence(Normal(a * x0, s), Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(prior_divergence(x0, schedule), expected, rtol=1e-6)


@pytest.mark.parametrize("strata", [2, 3, 50, 51])
def test_what_varies_slowly_from_stratum_to_stratum_is_no_error(strata):
    generator = torch.Generator().manual_seed(0)
    # The first stratum is the widest, as that of the earliest times is.
    widths = torch.tensor([3.0] + [1.0] * (strata - 1)).double()
    values = widths * torch.randn(20_000, strata, dtype=torch.float64, generator=generator)
    expected = widths.square().sum().item() / strata**2
    found = variance_of_stratified_mean(values).mean().item()
    assert found == pytest.approx(expected, rel=0.04)
    trend = torch.arange(strata) / 5
    found = variance_of_stratified_mean(values + trend).mean().item()
    assert expected < found < 1.1 * expected


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_bound_is_below_the_log_density_and_near_it_with_many_timesteps(schedule):
    gaps = []
    for timesteps, rows in ((10, 2000), (1000, 1000)):
        model = gaussian_model(
            timesteps=timesteps, steps=10, schedule=schedule, prediction="v", variance="beta"
        )
        x = normal_points(rows)
        found = model.log_prob(x, Noise.of_rows(0, count=rows), timesteps)
        assert (found.kind, found.measure) == ("lower_bound", "density")
        # Below in the mean over the data, whose entropy no model undercuts.
        gap = MultivariateNormal(MEAN, COVARIANCE).log_prob(x.double()) - found.nats
        gaps.append((gap.mean().item(), gap.std().item() / math.sqrt(rows)))
    assert gaps[0][0] > 3 * gaps[0][1]
    assert gaps[1][0] > -3 * gaps[1][1]
    assert gaps[1][0] < min(0.5 * gaps[0][0], 0.1)


@pytest.mark.parametrize("effort", [1, 5, 99])
def test_the_terms_sum_to_the_bound(effort):
    found = gaussian_model(timesteps=100).log_prob(
        normal_points(6), Noise.of_rows(0, count=6), effort
    )
    assert set(found.terms) == {"prior", "diffusion", "decoder"}
    assert torch.allclose(sum(found.terms.values()), found.nats)
    assert found.standard_error.isnan().all() == (effort == 1)


def test_a_bound_of_few_timesteps_is_unbiased_and_its_error_is_as_it_says():
    model, rows = gaussian_model(timesteps=100, schedule="cosine", prediction="v"), 3000
    x = normal_points(1).expand(rows, -1)
    errors, means = [], []
    for effort in (6, 30, 100):
        found = model.log_prob(x, Noise.of_rows(effort, count=rows), effort)
        spread = found.nats.std().item()
        means.append((found.nats.mean().item(), spread / math.sqrt(rows)))
        errors.append(found.standard_error.square().mean().sqrt().item())
        # Never too small; too large while neighbouring strata still differ in their means.
        assert 0.95 * spread < errors[-1] < 2 * spread
    assert errors[0] > errors[1] > errors[2]
    for mean, error in means[:2]:
        assert abs(mean - means[2][0]) < 4 * (error + means[2][1])


def test_every_timestep_is_scored_once_at_full_effort():
    model, seen = gaussian_model(timesteps=40, steps=10), []
    model.denoiser.network.register_forward_hook(lambda _, given, __: seen.append(given[1]))
    model.log_prob(normal_points(1), Noise.of_rows(0), 1000)
    times = torch.cat(seen)
    assert times[times > 1].tolist() == list(range(2, 41))


def test_the_flow_has_the_density_of_the_data():
    model = gaussian_model(ode_steps=30, prediction="v", schedule="cosine")
    x = normal_points(8)
    exact = MultivariateNormal(MEAN, COVARIANCE).log_prob(x.double())
    found = finished(model.scoring_by("ode", x, Noise.of_rows(0, count=8), 48))
    assert (found.kind, found.measure) == ("estimate", "density")
    assert ((found.nats - exact).abs() < 4 * found.standard_error + 0.01).all()
    few = finished(model.scoring_by("ode", x, Noise.of_rows(0, count=8), 5))
    ratio = few.standard_error.mean() / found.standard_error.mean()
    assert ratio.item() == pytest.approx(math.sqrt(48 / 5), rel=0.4)
    one = finished(model.scoring_by("ode", x, Noise.of_rows(0, count=8), 1))
    assert one.standard_error.isnan().all()


def test_points_are_scored_in_their_own_units():
    model = gaussian_model(mean=torch.zeros(2).double(), covariance=torch.eye(2).double())
    model.prepare(lambda: [Batch(normal_points(5000) * torch.tensor([10.0, 0.1]) + 7)])
    assert model.sample(Noise.of_rows(0, count=500)).std(dim=0)[0].item() > 5
    x = 7 + torch.tensor([[3.0, 0.02]])
    law = Normal(model.centre.double(), model.scale.double())
    expected = law.log_prob(x.double()).sum()
    flow = finished(model.scoring_by("ode", x, Noise.of_rows(0), 2)).nats
    assert flow.item() == pytest.approx(expected.item(), abs=0.01)
    bound = model.log_prob(x.expand(200, -1), Noise.of_rows(0, count=200), 1000).nats.mean()
    assert expected.item() - 1.5 < bound.item() < expected.item() + 0.05


def test_the_flow_of_pictures_is_a_density_of_dequantized_pictures_in_the_unit_cube():
    mean, variance = torch.full((4,), 0.1).double(), 0.3**2
    model = gaussian_model((1, 2, 2), mean, variance * torch.eye(4).double())
    x, noise = torch.tensor([0, 128, 200, 255]).reshape(1, 1, 2, 2) / 255, Noise.of_rows(5)
    found = finished(model.scoring_by("ode", x, noise, 1)).nats
    u = noise.stream("dequantization").uniform((1, 2, 2)).double()
    within = (255 * x.double() + u) / 256
    standardized = 2 * (256 * within - 0.5) / 255 - 1
    law = Normal(mean, math.sqrt(variance))
    expected = law.log_prob(standardized.flatten()).sum() + 4 * math.log(512 / 255)
    assert found.item() == pytest.approx(expected.item(), abs=0.05)


def test_what_has_no_likelihood_is_refused():
    model = small_unet()
    noise = Noise.of_rows(0)
    for value in (1.2, -0.1, math.nan):
        with pytest.raises(InvalidPicture, match=r"in \[0, 1\]"):
            model.log_prob(torch.full((1, 1, 8, 8), value), noise, 1, labels(1))
    with pytest.raises(NotSupported, match="does by ode"):
        finished(model.scoring_by("guess", torch.zeros(1, 1, 8, 8), noise, 1, labels(1)))


# Inpainting


@pytest.mark.parametrize("options", [{}, {"eta": 1.0, "resamplings": 3.0, "guidance": 2.0}])
def test_what_is_known_stays_and_what_is_not_makes_no_difference(options):
    model = small_unet()
    x = (Noise.of_rows(1, count=2).uniform((1, 8, 8)) * 255).round() / 255
    known = torch.zeros_like(x).bool()
    known[0, :, :4], known[1, :, :, 2:5] = True, True
    noise = Noise.of_rows(0, count=2)
    chains = model.begin_inpainting(x, known, noise, labels(2), 6, options)
    assert torch.equal(model.finish(chains)[known], x[known])
    filled = model.run_to_end(chains)
    assert torch.equal(filled[known], x[known])
    assert not torch.allclose(filled[~known], x[~known], atol=0.1)
    other = torch.where(known, x, math.nan)
    again = model.begin_inpainting(other, known, Noise.of_rows(0, count=2), labels(2), 6, options)
    assert torch.equal(model.run_to_end(again), filled)


def test_before_each_step_the_known_part_has_the_noise_of_its_time():
    model = gaussian_model(timesteps=100)
    x, known = normal_points(3), torch.tensor([True, False]).expand(3, -1)
    chains = model.begin_inpainting(x, known, Noise.of_rows(0, count=3), steps=10)
    after = model.advance(chains).tensors["x"]
    a, s = model.schedule.scales(torch.tensor(90))
    expected = a * x[:, 0] + s * chains.noise("known").normal((2,))[:, 0]
    assert torch.allclose(after[:, 0].double(), expected.double(), atol=1e-6)


def test_resampling_brings_the_rest_nearer_to_its_law_given_what_is_known():
    """Of N(0, [[1, r], [r, 1]]) given the first number, the second is N(r x, 1 - r^2)."""
    r, rows = 0.9, 500
    covariance = torch.tensor([[1, r], [r, 1]]).double()
    model = gaussian_model(mean=torch.zeros(2).double(), covariance=covariance, timesteps=200)
    x, known = torch.full((rows, 2), 1.5), torch.tensor([True, False]).expand(rows, -1)
    errors = []
    for resamplings in (1, 6):
        options = {"eta": 1.0, "resamplings": resamplings}
        chains = model.begin_inpainting(x, known, Noise.of_rows(0, count=rows), None, 25, options)
        assert chains.left.tolist() == [resamplings * 24 + 1] * rows
        filled = model.run_to_end(chains)[:, 1]
        errors.append(abs(filled.mean().item() - r * 1.5))
    assert errors[1] < min(0.4 * errors[0], 0.15)


def test_a_mask_of_another_shape_and_a_wrong_picture_are_refused():
    model, noise = gaussian_model((1, 2, 2), torch.zeros(4), torch.eye(4)), Noise.of_rows(0)
    with pytest.raises(WrongShape, match="bool and of shape"):
        model.begin_inpainting(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2).bool(), noise)
    with pytest.raises(InvalidPicture):
        model.begin_inpainting(torch.full((1, 1, 2, 2), 2.0), torch.ones(1, 1, 2, 2).bool(), noise)


# Learning


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
def test_the_loss_is_least_at_the_best_denoiser(prediction):
    settings = {"timesteps": 100, "prediction": prediction, "steps": 10}
    batch, noise = Batch(normal_points(2000)), Noise.of_rows(0, count=2000)
    best = gaussian_model(**settings).losses(batch, noise, 1.0)["loss"]
    for factor in (0.7, 1.4):
        off = gaussian_model(covariance=factor * COVARIANCE, **settings)
        assert off.losses(batch, Noise.of_rows(0, count=2000), 1.0)["loss"] > best


def test_the_logged_nats_are_the_diffusion_term_of_the_bound():
    model, rows = gaussian_model(timesteps=100, schedule="cosine", prediction="v"), 20_000
    x = normal_points(rows)
    logged = model.losses(Batch(x), Noise.of_rows(0, count=rows), 1.0)["diffusion_nats"].item()
    found = model.log_prob(x[:2000], Noise.of_rows(1, count=2000), 100).terms["diffusion"]
    assert logged == pytest.approx(-found.mean().item(), rel=0.05)


def test_each_part_of_the_times_has_one_row():
    model = gaussian_model(timesteps=100)
    times = model._stratified_times(Noise.of_rows(0, count=20).stream("times"))
    assert sorted(((times - 1) // 5).tolist()) == list(range(20))
    again = model._stratified_times(Noise.of_rows(1, count=20).stream("times"))
    assert not torch.equal((times - 1) // 5, (again - 1) // 5)


# Networks


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (8, 8), (7, 5)])
def test_pictures_of_any_size_come_out_as_they_went_in(size):
    network = UNet((3, *size), [8, 16, 16], 2, 8, 0, 100)
    assert network(torch.zeros(2, 3, *size), torch.tensor([1, 100])).shape == (2, 3, *size)


def test_attention_is_its_formula():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention, h = Attention(8), torch.randn(2, 8, 3, 3)
    places = attention.inputs(attention.norm(h)).flatten(2)  # (B, 24, 9)
    query, key, value = places[:, :8], places[:, 8:16], places[:, 16:]
    weights = torch.softmax(query.transpose(1, 2) @ key / math.sqrt(8), dim=2)
    mixed = (value @ weights.transpose(1, 2)).reshape(2, 8, 3, 3)
    assert torch.allclose(attention(h), h + attention.output(mixed), atol=1e-5)
