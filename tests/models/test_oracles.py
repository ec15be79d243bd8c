"""Likelihoods and paths against numbers that others' implementations gave of the same arrays."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from models.capabilities import Posterior
from models.families.mixture import Mixture, MixtureConfig
from models.families.pca import PCA, PCAConfig
from models.latents import lerp, slerp
from models.learning import Batch
from models.networks.bipartite import Bipartite
from models.networks.deep_machine import DeepMachine
from models.networks.flows import ActNorm, InvertibleLinear, Logit, Standardize
from models.networks.outputs import Bernoulli
from models.networks.pairwise import Pairwise
from models.networks.pixel_outputs import LogisticMixture
from models.networks.variational import (
    ImportanceBound,
    kl_to_prior,
    log_importance_weights,
    log_normal,
)
from models.networks.visible_units import BernoulliUnits, GaussianUnits, all_states
from models.noise import Noise
from tests import oracles

CASES = oracles.cases(Path(__file__).parent / "oracles")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
@torch.no_grad()
def test_it_is_what_the_reference_gives(path):
    oracles.check(path, ANSWERS)


def tensors(x):
    return {name: torch.from_numpy(each) for name, each in x.items()}


# Boltzmann machines


def of_boltzmann(x, _):
    x = tensors(x)
    if "W1" in x:
        return of_deep(x)
    return of_pairs(x) if x["W"].shape[0] == len(x["b"]) and "c" not in x else of_two_sides(x)


def bipartite(weight, visible_bias, hidden_bias, sigma=None):
    units = (BernoulliUnits if sigma is None else GaussianUnits)(len(visible_bias))
    machine = Bipartite(units, len(hidden_bias)).double()
    machine.weight.copy_(weight)
    machine.bias.copy_(hidden_bias)
    units.bias.copy_(visible_bias)
    if sigma is not None:
        units.log_sigma.copy_(sigma.log())
    return machine


def of_two_sides(x):
    machine = bipartite(x["W"], x["b"], x["c"], x.get("sigma"))
    log_z = machine.log_partition()
    if "sigma" in x:
        return {"log_z": log_z, "log_p_points": -machine.free_energy(x["points"]) - log_z}
    states, data = x["v_states"].double(), x["data"].double()
    log_p = -machine.free_energy(states) - log_z
    return {
        "log_z": log_z,
        "log_p_v": log_p,
        "free_energy_v": machine.free_energy(states),
        "mean_h": log_p.exp() @ machine.hidden_mean(states),
        "data_mean_log_p": (-machine.free_energy(data) - log_z).mean(),
    }


def of_pairs(x):
    visible = x["v_states"].shape[1]
    machine = Pairwise(visible, len(x["b"]) - visible).double()
    machine.weight.copy_(x["W"])
    machine.bias.copy_(x["b"])
    log_z = machine.log_partition()
    return {"log_z": log_z, "log_p_v": -machine.free_energy(x["v_states"]) - log_z}


def of_deep(x):
    first = bipartite(x["W1"], x["b"], x["c1"])
    second = bipartite(x["W2"], x["c1"], x["c2"])
    sides = DeepMachine([first, second]).two_sides(None)
    log_z, top = sides.log_partition(), all_states(len(x["c2"])).double()
    log_p = [
        (-sides.free_energy(torch.cat([v.expand(len(top), -1), top], dim=1))).logsumexp(dim=0)
        for v in x["v_states"].double()
    ]
    return {"log_z": log_z, "log_p_v": torch.stack(log_p) - log_z}


# Factors, mixtures and variational bounds


def of_factors(x, _):
    x = tensors(x)
    noise = Noise.of_rows(0, count=len(x["test"]))
    if "weights" in x:
        model = mixture(x)
        return {
            "log_p_test": model.log_prob(x["test"], noise).nats,
            # Families give codes in float32; the reference has float64.
            "responsibilities": model._log_joint(x["test"]).softmax(dim=1),
        }
    width = x["train"].shape[1]
    components = int((torch.linalg.eigvalsh(x["covariance"]).diff() > 1e-8).sum())
    model = PCA(PCAConfig(shape=(width,), components=components))
    model.fit(lambda: [Batch(x["train"])])
    rows = Noise.of_rows(0, count=len(x["train"]))
    return {
        "log_p_test": model.log_prob(x["test"], noise).nats,
        "log_p_train_mean": model.log_prob(x["train"], rows).nats.mean(),
        "noise_variance": model.noise_variance,
    }


def mixture(x):
    full = x["covariances"]
    is_diagonal = bool((full == torch.diag_embed(full.diagonal(dim1=1, dim2=2))).all())
    law = "diagonal" if is_diagonal else "full"
    count, width = x["means"].shape
    model = Mixture(MixtureConfig(shape=(width,), law=law, components=count))
    model.weights.copy_(x["weights"])
    model.components.means.copy_(x["means"])
    if is_diagonal:
        model.components.variances.copy_(full.diagonal(dim1=1, dim2=2))
    else:
        model.components.scales.copy_(torch.linalg.cholesky(full))
    return model


class OwnVariances:
    """An output whose parameters are means, with a variance for each number."""

    def __init__(self, variances):
        self.variances = variances

    def dequantize(self, x, noise):
        return x

    def log_prob(self, parameters, x):
        return log_normal(x, parameters, self.variances.log().expand_as(x))


class Binary(Bernoulli):
    def dequantize(self, x, noise):
        return x


def of_bounds(x, _):
    x = tensors(x)
    rows = x["x"].double()
    if "W1" in x:
        output = Binary()

        def decode(z, k):
            return (z @ x["W1"] + x["b1"]).tanh() @ x["W2"] + x["b2"]
    else:
        output = OwnVariances(x["noise_var"])

        def decode(z, k):
            return z @ x["W"].T + x["b"]

    mean, deviation = x["q_mean"], x["q_std"]
    posterior = Posterior(mean, 2 * deviation.log())
    z = mean[:, None] + deviation[:, None] * x["noise"]
    log_w = log_importance_weights(
        rows, z, posterior, decode, output, Noise.of_rows(0, count=len(rows))
    )
    found = {
        "kl": kl_to_prior(mean, posterior.log_variance),
        "normalized_weights": log_w[:, :5].softmax(dim=1),
    }
    for k in (1, 5, 50):
        bound = ImportanceBound()
        for part in log_w[:, :k].split(3, dim=1):
            bound.add(part)
        found[f"iwae_{k}"] = bound.nats()
        found[f"elbo_mc_{k}"] = log_w[:, :k].mean(dim=1)
    return found


# Flows


def of_flows(x, parameters):
    x = tensors(x)
    rows = x["x"].double()
    if "alpha" in parameters:
        return of_logits(rows, x["u"], parameters)
    if "W" in x:
        z, log_det = InvertibleLinear(x["W"]).double()(rows)
        return {"log_abs_det": log_det[0], "log_p_x": standard(z) + log_det}
    if "A" in x:
        layer = InvertibleLinear(x["A"]).double()
        z, log_det = layer.inverse(rows - x["b"])
        return {"log_abs_det_A": -log_det[0], "log_p_x": standard(z) + log_det}
    layer = ActNorm(len(x["s"])).double()
    with torch.no_grad():
        layer.log_scale.copy_(x["s"])
        layer.shift.copy_(x["t"])
        z, log_det = layer.inverse(rows)
    return {"log_abs_det_inverse": log_det[0], "log_p_x": standard(z) + log_det}


def of_logits(x, u, parameters):
    """Levels with noise, as numbers from 0 to 256."""
    y, log_det = Logit(parameters["alpha"])((x + u) / 256)
    layer = Standardize(x.shape[1:]).double()
    layer.mean.fill_(parameters["mu"])
    layer.scale.fill_(parameters["std"])
    z, more = layer(y)
    count = math.prod(x.shape[1:])
    nats = standard(z) + log_det + more - count * math.log(256)
    return {"log_p_x": nats, "bits_per_dim": -nats / (count * math.log(2))}


def standard(z):
    z = z.flatten(1)
    return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))


# Pixels


class Given(nn.Module):
    """A layer whose output is known."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output


def of_pixels(x, parameters):
    x = tensors(x)
    levels, numbers, k = x["x"].long(), x["params"].double(), parameters["nr_mix"]
    channels = levels.shape[-1]
    logits, others = numbers[..., :k], numbers[..., k:]
    others = others.reshape(*others.shape[:-1], channels, -1, k).transpose(-3, -2)
    means, log_scales, *coefficients = others.unbind(dim=-3)  # each (..., C, K)
    parts = [logits[..., None, :], means, log_scales]
    if channels == 3:  # green by red, blue by red, blue by green: in the order of ours
        parts += coefficients
    output = LogisticMixture(1, channels, k)
    output.parameters_of = Given(torch.cat(parts, dim=-2).flatten(-2))
    nats = output.log_prob(torch.zeros(1), levels)
    bits = -nats.sum() / (levels.numel() * math.log(2))
    return {"exact_log_prob": nats, "exact_bits_per_dim": bits}


# Paths


def of_paths(x, _):
    x = tensors(x)
    pairs = list(zip(x["a"], x["b"], strict=True))
    return {
        "lerp": torch.stack([lerp(a, b, x["t"]) for a, b in pairs]),
        "slerp": torch.stack([slerp(a, b, x["t"]) for a, b in pairs]),
    }


ANSWERS = {
    "likelihood_ebm": of_boltzmann,
    "likelihood_factor": of_factors,
    "likelihood_vae": of_bounds,
    "likelihood_flow": of_flows,
    "likelihood_pixelcnn": of_pixels,
    "latent_interpolation": of_paths,
}
