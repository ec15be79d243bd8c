"""Discriminator rejection sampling, where the perfect discriminator is known."""

import torch
from torch import nn

from models.capabilities import Critic, Sampler
from models.learning import Batch
from models.networks.rejection import PERCENTILES, Calibration, acceptance
from models.noise import Noise


class Biased(nn.Module, Sampler, Critic):
    """Draws from a triangle law on [0, 1], 2 (1 - x), and knows how much likelier each number is
    under the data's, which is uniform on [0, 0.9]: the best discriminator there can be."""

    def sample(self, noise, condition=None):
        return 1 - (1 - noise.uniform((1,))).sqrt()

    def criticise(self, x, condition=None):
        inside = torch.where(x[:, 0] < 0.9, 1 / 0.9, 1e-3)
        return inside.log() - (2 * (1 - x[:, 0])).log()


def test_the_perfect_discriminator_mends_the_generator():
    model = Biased()
    quantiles = torch.zeros(PERCENTILES)
    Calibration(model, quantiles).fit(lambda: [Batch(torch.zeros(500, 1))])
    assert (quantiles.diff() >= 0).all()
    noise = Noise.of_rows(3, count=40_000)
    x = model.sample(noise.stream("x"))
    distances = []
    for percentile in (0.0, 80.0, 95.0):
        chance = acceptance(model.criticise(x), torch.full((len(x),), percentile), quantiles)
        kept = x[:, 0][noise.stream("keep").uniform() < chance]
        wanted = torch.linspace(0, 0.9, 50)
        reached = (kept[:, None] <= wanted).float().mean(dim=0)
        distances.append((reached - wanted / 0.9).abs().max().item())
    # Kolmogorov's distance to the data's law falls the stricter it is.
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.15  # at first nearly all are kept
    assert distances[-1] < 0.05


def test_one_that_is_liked_better_is_kept_rather():
    quantiles = torch.linspace(-3, 3, PERCENTILES)
    score = torch.linspace(-4, 4, 50)
    for percentile in (0.0, 33.3, 95.0, 100.0):
        chance = acceptance(score, torch.full((50,), percentile), quantiles)
        assert (chance.diff() >= 0).all()
        assert ((chance >= 0) & (chance <= 1)).all()
    half = acceptance(torch.tensor([1.5]), torch.tensor([75.0]), quantiles)
    assert torch.allclose(half, torch.tensor([0.5]))
