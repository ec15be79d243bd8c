"""The toy autoregressive model as the law that it says it is."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chisquare

from models.errors import InvalidPicture
from models.families.toy_autoregressive import ToyAutoregressive, ToyAutoregressiveConfig
from models.learning import Batch
from models.noise import Noise


def learned(x, epochs=0, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ToyAutoregressive(ToyAutoregressiveConfig(shape=tuple(x.shape[1:]), **settings))
    batches = [Batch(part) for part in x.split(250)]
    model.prepare(lambda: batches)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(epochs):
        for batch in batches:
            optimizer.zero_grad()
            model.losses(batch, Noise.of_rows(0, count=len(batch)), 1.0)["loss"].backward()
            optimizer.step()
    return model.requires_grad_(False)


def ring(count=3000):
    """Where the second coordinate is told by the first, up to its sign."""
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(count, generator=generator)
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    return x + 0.05 * torch.randn(count, 2, generator=generator)


def nats(model, x):
    return model.log_prob(x, Noise.of_rows(0, count=len(x))).nats


@pytest.fixture(scope="module")
def trained():
    return learned(ring(), epochs=20, bins=40)


def cell_masses(model):
    """Of every cell of the plane, shape (bins, bins)."""
    edges, bins = model.bins.edges, model.bins.count
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    density = nats(model, torch.cartesian_prod(*middles).float()).exp().reshape(bins, bins)
    return density * model.bins.log_widths.sum().exp()


def test_the_density_integrates_to_one(trained):
    assert cell_masses(trained).sum() == pytest.approx(1, abs=1e-5)


def test_the_density_on_a_line_integrates_to_one():
    model = learned(ring()[:, :1], epochs=2)
    low, high = model.bins.edges[0, [0, -1]]
    axis = (low + (torch.arange(10_000) + 0.5) / 10_000 * (high - low)).float()
    assert nats(model, axis[:, None]).exp().mean() * (high - low) == pytest.approx(1, abs=0.01)


def test_the_density_is_constant_within_a_cell_and_not_across(trained):
    low = trained.bins.edges[:, 20:22].mean(dim=1)
    width = trained.bins.log_widths.exp()
    within = torch.stack([low, low + 0.4 * width, low + 0.6 * width]).float()
    found = nats(trained, within)
    assert found[0] == found[1] != found[2]


def test_draws_fall_into_cells_as_often_as_the_density_says(trained):
    drawn = trained.sample(Noise.of_rows(3, count=100_000)).double().numpy()
    edges = trained.bins.edges.numpy()
    halves = [np.interp(np.arange(81) / 2, np.arange(41), axis) for axis in edges]
    found, _, _ = np.histogram2d(*drawn.T, bins=halves)
    expected = 100_000 * cell_masses(trained).numpy().repeat(2, 0).repeat(2, 1) / 4
    common = expected > 5
    counts = np.append(found[common], found[~common].sum())
    masses = np.append(expected[common], expected[~common].sum())
    assert chisquare(counts, masses).pvalue > 1e-3


def test_before_any_step_every_axis_starts_near_its_own_histogram():
    x = ring()
    model = learned(x, bins=20)
    expected = np.histogram(x[:, 0].double(), bins=model.bins.edges[0].numpy())[0] + 1
    found = model.first.softmax(dim=0)
    np.testing.assert_allclose(found, expected / (len(x) + 20), rtol=1e-5)


def test_the_second_coordinate_is_learned_from_the_first(trained):
    # In the middle of the first axis a ring has two ends of the second, and nothing between.
    x = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, 0.0], [1.0, 0.0]])
    found = nats(trained, x)
    assert found[[0, 1, 3]].min() > found[2] + 3
    independent = nats(learned(ring(), bins=40), ring()).mean()
    assert nats(trained, ring()).mean() > independent + 0.5


def test_a_dimension_depends_on_all_before_it_and_none_after():
    networks = learned(ring(50)[:, [0, 1, 0, 1, 0]], bins=8, activation="tanh").later
    before = torch.tensor([[0.1, -0.5, 0.3, 0.8]])
    for changed in range(4):
        after = before.clone()
        after[0, changed] = 0
        differs = (networks(after) != networks(before)).any(dim=2)[0]
        assert differs.tolist() == [k >= changed for k in range(4)]  # network k sees 0 to k


def test_a_network_says_the_same_alone_as_beside_the_others():
    networks = learned(ring(50)[:, [0, 1, 0, 1, 0]], epochs=1, bins=8).later
    x = torch.tensor([[0.1, -0.5, 0.3, 0.8], [1.0, 0.9, -0.8, -0.7]])
    for k in range(4):
        assert torch.allclose(networks.one(x[:, : k + 1]), networks(x)[:, k], atol=1e-6)


def test_levels_of_pictures_lie_whole_in_their_bins():
    x = (torch.arange(256.0) / 255).reshape(-1, 1, 1, 1)
    for bins in (2, 16, 128, 256):
        model = learned(x, bins=bins)
        assert torch.equal(model._cells(x).flatten(), torch.arange(256) // (256 // bins))
    drawn = 255 * learned(x, bins=16).sample(Noise.of_rows(0, count=500))
    assert torch.allclose(drawn, drawn.round(), atol=1e-4)
    assert drawn.max() <= 255
    assert len(drawn.round().unique()) > 200


def test_points_beyond_the_range_are_refused(trained):
    with pytest.raises(InvalidPicture, match="on axis 0, where its training data were"):
        nats(trained, torch.tensor([[9.0, 0.0]]))


def test_what_is_drawn_can_be_scored(trained):
    assert nats(trained, trained.sample(Noise.of_rows(9, count=5000))).isfinite().all()


def test_what_is_too_large_or_does_not_fit_is_refused():
    with pytest.raises(ValidationError, match="too much"):
        ToyAutoregressiveConfig(shape=(3, 32, 32), bins=16)
    with pytest.raises(ValidationError, match="divide their 256 levels"):
        ToyAutoregressiveConfig(shape=(1, 8, 8), bins=200)
