"""VQ-VAE: nearest entries, gradients straight through, running means, restarts, and the prior."""

import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits

from models.conditions import ConditionSchema
from models.families.vqvae import VQVAE, Codebook, VQVAEConfig, perplexity
from models.learning import Batch
from models.noise import Noise

DIGITS = torch.from_numpy(load_digits().images / 16).float()[:, None]
SHAPE = (1, 8, 8)
SMALL = {
    "entries": 16,
    "code_width": 4,
    "downsampling": 2,
    "channels": 8,
    "residual_blocks": 1,
    "prior_channels": 8,
    "prior_layers": 2,
    "prior_features": 16,
    "prior_embedding": 4,
}


def built(shape=SHAPE, **settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VQVAE(VQVAEConfig.for_data(shape, ConditionSchema(), **{**SMALL, **settings}))


def prepared(x, **settings):
    model = built(**settings)
    model.prepare(lambda: [Batch(x)])
    return model


def descend(learner, x, steps, rate=3e-3):
    """The losses of each step; every batch is all of x."""
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], rate)
    learner.train()
    found = []
    for step in range(steps):
        losses = learner.losses(Batch(x), Noise.of_rows(step, count=len(x)), 1.0)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        found.append({name: value.item() for name, value in losses.items()})
    learner.eval()
    return found


def flat(grids):
    return grids.movedim(1, -1).flatten(0, 2)


def test_every_place_takes_the_entry_nearest_to_its_vector():
    model = prepared(DIGITS[:64])
    vectors = model.encoder(DIGITS[:64] - model.mean)
    distances = (vectors[:, None] - model.codebook.entries[None, :, :, None, None]).norm(dim=2)
    assert torch.equal(model.indices(DIGITS[:64]), distances.argmin(dim=1))
    chosen = model.encode(DIGITS[:64]).mean
    assert torch.equal(
        (vectors - chosen).norm(dim=1),
        distances.gather(1, model.indices(DIGITS[:64])[:, None])[:, 0],
    )
    assert model.indices(DIGITS[:64]).dtype == torch.int64
    assert model.indices(DIGITS[:64]).shape == (64, 4, 4)


def test_the_encoder_has_the_gradient_of_the_decoder_and_of_its_commitment():
    """d loss / d vector = d error / d quantized vector + beta 2 (vector - quantized) / numbers."""
    x = DIGITS[:8]
    model = prepared(x, beta=0.7)
    vectors = model.encoder(x - model.mean)
    quantized = model.encode(x).mean.detach().requires_grad_()
    error = (model.decoder(quantized) + model.mean - x).square().mean() / model.variance
    (of_decoder,) = torch.autograd.grad(error, quantized)
    of_commitment = 0.7 * 2 * (vectors - quantized).detach() / vectors.numel()
    parameters = list(model.encoder.parameters())
    wanted = torch.autograd.grad(vectors, parameters, of_decoder + of_commitment)
    model.losses(Batch(x), Noise.of_rows(0, count=8), 1.0)["loss"].backward()
    for parameter, gradient in zip(parameters, wanted, strict=True):
        assert gradient.abs().max() > 0
        assert torch.allclose(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_the_loss_by_hand():
    x = DIGITS[:8].double()
    model = prepared(DIGITS[:8], beta=0.7).eval()
    found = model.losses(Batch(DIGITS[:8]), Noise.of_rows(0, count=8), 1.0)
    vectors = model.encoder(DIGITS[:8] - model.mean).double()
    quantized = model.codebook.entries[model.indices(DIGITS[:8])].movedim(-1, 1)
    commitment = sum(
        (vectors[n, :, r, c] - quantized[n, :, r, c]).square().sum()
        for n in range(8)
        for r in range(4)
        for c in range(4)
    ) / (8 * 4 * 4 * 4)
    rebuilt = model.decoder(quantized) + model.mean
    error = (rebuilt - x).square().mean()
    assert found["commitment"].item() == pytest.approx(commitment.item(), rel=1e-5)
    assert found["squared_error"].item() == pytest.approx(error.item(), rel=1e-5)
    variance = (x - x.mean(dim=0)).square().mean()
    assert found["loss"].item() == pytest.approx(
        (error / variance + 0.7 * commitment).item(), rel=1e-5
    )


def test_the_codebook_is_the_running_mean_of_the_papers_appendix():
    """N and m followed in float64, m / N at the end; what nobody chooses stays to the bit."""
    codebook = Codebook(5, 3, decay=0.9)
    codebook.entries[4] = 100.0
    entries = codebook.entries.double()
    uses, sums = torch.ones(5, dtype=torch.float64), entries.clone()
    for step in range(200):
        vectors = Noise.of_rows(step, count=20).normal((3,))
        indices = codebook.nearest(vectors[:, :, None, None]).flatten()
        codebook.follow(vectors, indices)
        for i in range(5):
            mine = vectors[indices == i].double()
            uses[i] = 0.9 * uses[i] + 0.1 * len(mine)
            sums[i] = 0.9 * sums[i] + 0.1 * mine.sum(dim=0)
    assert torch.allclose(codebook.uses.double(), uses, rtol=1e-4)
    assert torch.allclose(codebook.entries.double(), sums / uses[:, None], atol=1e-4)
    assert uses[4] < 1e-8
    assert (codebook.entries[4] == 100.0).all()


def test_a_long_unused_entry_does_not_break():
    codebook = Codebook(2, 1, decay=0.5)
    codebook.entries.copy_(torch.tensor([[0.0], [9.0]]))
    for _ in range(400):  # 0.5^400 is no float32
        codebook.follow(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    assert codebook.uses[1] == 0
    codebook.follow(torch.full((1, 1), 7.0), torch.ones(1, dtype=torch.int64))
    assert codebook.entries.flatten().tolist() == [0.0, 7.0]


def test_only_training_moves_the_codebook():
    model = prepared(DIGITS[:64], restart_below=0.5).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noise = Noise.of_rows(0, count=64)
    model.losses(Batch(DIGITS[:64]), noise, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train().losses(Batch(DIGITS[:64]), noise, 1.0)
    assert not torch.equal(model.codebook.entries, before["codebook.entries"])


def test_dead_entries_restart_at_vectors_of_the_batch_that_the_noise_chooses():
    x = DIGITS[:4]
    found = []
    for seed in (1, 1, 2):
        model = prepared(x, restart_below=0.3, decay=0.5)
        model.codebook.entries[10:] = 1000.0
        model.codebook.uses[12:] = 0.1  # half of it is below, and half of 1 is not
        vectors = flat(model.encoder(x - model.mean))
        model.train().losses(Batch(x), Noise.of_rows(seed, count=4), 1.0)
        assert (model.codebook.entries[10:12] == 1000.0).all()
        restarted = model.codebook.entries[12:]
        assert (torch.cdist(restarted, vectors).min(dim=1).values < 1e-2).all()
        assert len(restarted.unique(dim=0)) == 4
        assert (model.codebook.uses[12:] == 1).all()
        found.append(restarted)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("restart_below", [0.0, 0.1])
def test_restarts_bring_a_collapsed_codebook_back(restart_below):
    model = prepared(DIGITS[:64], restart_below=restart_below, decay=0.9)
    model.codebook.entries[1:] = 1000.0
    found = [each["perplexity"] for each in descend(model, DIGITS[:64], 60)]
    assert found[0] == 1
    if restart_below:
        assert found[-1] > 8
    else:
        assert found[-1] == 1


def test_perplexity_is_the_number_of_equally_used_entries():
    assert perplexity(torch.tensor([5, 5, 0, 5, 5])).item() == pytest.approx(4)
    probabilities = torch.tensor([0.5, 0.25, 0.25])
    assert perplexity(4 * probabilities).item() == pytest.approx(2**1.5)


def test_k_means_begins_nearer_to_the_data():
    errors = []
    for first in ("normal", "k_means"):
        model = prepared(DIGITS[:200], first_entries=first).eval()
        found = model.losses(Batch(DIGITS[:200]), Noise.of_rows(0, count=200), 1.0)
        errors.append(found["commitment"])
    assert errors[1] < 0.7 * errors[0]
    assert found["perplexity"] > 4
    few = prepared(DIGITS[:1], entries=40)  # more than vectors
    assert few.codebook.entries.isfinite().all()


@pytest.mark.parametrize(("downsampling", "shape"), [(2, (1, 8, 8)), (4, (3, 12, 8))])
def test_reconstructions_get_near_to_the_pictures(downsampling, shape):
    x = DIGITS[:50].repeat(1, shape[0], 1, 1)
    x = torch.nn.functional.pad(x, (0, 0, 0, shape[1] - 8))
    settings = {"channels": 16, "entries": 32, "decay": 0.9, "restart_below": 0.1}
    model = prepared(x, shape=shape, downsampling=downsampling, **settings)
    losses = descend(model, x, 100)
    grid = (shape[1] // downsampling, shape[2] // downsampling)
    assert model.indices(x).shape == (50, *grid)
    rebuilt = model.decode(model.encode(x).mean)
    assert (rebuilt - x).square().mean() < 0.6 * (x - x.mean(dim=0)).square().mean()
    assert losses[-1]["perplexity"] > 8


def test_vectors_begin_as_large_as_the_entries():
    # So many entries that all digits are looked at.
    model = prepared(DIGITS, entries=700, first_entries="normal")
    deviation, mean = torch.std_mean(flat(model.encoder(DIGITS - model.mean)), dim=0)
    assert torch.allclose(mean, torch.zeros(4), atol=0.02)
    assert torch.allclose(deviation, torch.ones(4), atol=0.02)


def test_decoding_takes_the_nearest_entries():
    """What lies between two codes is one or the other, and a code is itself."""
    model = prepared(DIGITS[:64]).eval().requires_grad_(False)
    a, b = model.encode(DIGITS[:2]).mean.split(1)
    ends = model.decoder(torch.cat([a, b])) + model.mean
    assert torch.equal(model.decode(torch.cat([a, b])), ends.clamp(0, 1))
    assert torch.allclose(model.decode(a + 1e-4), model.decode(a), atol=1e-6)
    half = a + 0.4 * (b - a)
    near = torch.cdist(flat(half), model.codebook.entries).argmin(dim=1)
    grid = model.codebook.entries[near].reshape(1, 4, 4, 4).movedim(-1, 1)
    assert torch.equal(model.decode(half), model.decode(grid))


def test_the_prior_learns_how_often_which_grid_comes():
    """Two patterns, one three times as often: samples are decoded from their grids and no other."""
    left = torch.zeros(SHAPE)
    left[..., :4] = 1.0
    x = torch.stack([left] * 3 + [1 - left]).repeat(8, 1, 1, 1)
    model = prepared(x, entries=5, decay=0.9)
    autoencoder, prior = model.stages()
    with autoencoder.with_frozen():
        descend(model, x, 60, 1e-2)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    grids = prior.seen(Batch(x))
    assert grids.x.shape == (32, 1, 4, 4)
    assert torch.equal(4 * grids.x[:, 0], model.indices(x).float())
    descend(prior.learner, grids.x, 80, 1e-2)
    after = model.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(weights[name], after[name])}
    assert changed == {"prior"}

    model.requires_grad_(False)
    samples = model.sample(Noise.of_rows(0, count=400))
    shown = model.decode(model.encode(x[2:4]).mean)
    which = torch.cdist(samples.flatten(1), shown.flatten(1))
    assert (which.min(dim=1).values < 1e-2).float().mean() > 0.97
    assert (which.argmin(dim=1) == 0).float().mean().item() == pytest.approx(0.75, abs=0.07)
    assert torch.equal(shown.round(), x[2:4])


@pytest.mark.parametrize("entries", [2, 3, 300])
def test_samples_are_decoded_from_entries_of_the_codebook(entries):
    model = built(entries=entries).eval().requires_grad_(False)
    noise = Noise.of_rows(0, count=6)
    z = model.draw(noise)
    assert z.shape == (6, *model.latent_spaces[0].shape)
    own = (flat(z)[:, None] == model.codebook.entries).all(dim=2)
    assert (own.sum(dim=1) == 1).all()
    assert own.any(dim=0).sum() > 1
    assert torch.equal(model.decode(z), model.sample(noise))


def test_indices_survive_the_form_in_which_the_prior_sees_them():
    model = built(entries=1000)
    indices = torch.arange(1000)[:992].reshape(-1, 4, 4)
    pictures = model.prior.pictures_of(indices.flatten(1))
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert torch.equal(model._grids(pictures), indices)


@pytest.mark.parametrize("steps", [None, 1, 5, 16])
def test_sampling_in_steps_is_sampling_at_once(steps):
    model = built().eval().requires_grad_(False)
    noise = Noise.of_rows(7, count=3)
    assert model.default_steps == 16
    chains = model.begin(noise, steps=steps)
    while (chains.left > 0).any():
        preview = model.finish(chains)
        assert preview.shape == (3, *SHAPE)
        assert 0 <= preview.min() <= preview.max() <= 1
        chains = model.advance(chains)
    assert torch.equal(model.finish(chains), model.sample(noise))


def test_impossible_settings_are_refused():
    for settings, message in (
        ({"shape": (2,)}, "needs pictures"),
        ({"shape": (1, 10, 8)}, "multiples of 4"),
        ({"downsampling": 3}, "downsampling"),
        ({"entries": 1}, "greater than or equal to 2"),
        ({"decay": 1.0}, "less than 1"),
    ):
        with pytest.raises(ValidationError, match=message):
            VQVAEConfig.model_validate({"shape": SHAPE, **settings})
