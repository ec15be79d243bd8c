"""Lower bounds on log p(x) of models with a Gaussian posterior q(z | x) and prior N(0, I)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Self

import torch
from pydantic import NonNegativeFloat, model_validator
from torch import Tensor

from models.capabilities import Likelihood, Posterior
from models.conditions import ConditionSchema
from models.networks.coders import CoderConfig
from models.networks.outputs import Likelihoods, Output
from models.noise import Noise
from models.steps import Steps

IMPORTANCE_SAMPLES_AT_ONCE = 50  # keeps the decoder's activations small at any effort


class VariationalConfig(CoderConfig):
    """The settings of an encoder, a decoder and what the decoder's numbers mean."""

    likelihood: Likelihoods = "discretized_logistic"
    beta: NonNegativeFloat = 1.0  # weight of the KL term; 1 is the ELBO

    @model_validator(mode="after")
    def _likelihood_fits_the_data(self) -> Self:
        if len(self.shape) == 1 and self.likelihood != "gaussian":
            raise ValueError("points need likelihood = 'gaussian'; the others are about pictures")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        likelihood = "gaussian" if len(shape) == 1 else "discretized_logistic"
        return cls.for_data(shape, condition, hidden=(64,), latent_width=4, likelihood=likelihood)


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, I)) in closed form (Kingma & Welling, appendix B).

    Args:
        mean, log_variance: shape (B, D).
    Returns:
        Nats per row, shape (B,).
    """
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)


def reparameterize(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = mean + standard deviation * noise (Kingma & Welling, section 2.4)."""
    return mean + (0.5 * log_variance).exp() * noise


def log_normal_values(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of each number under a normal of its own, nats."""
    squares = (z - mean) ** 2 * (-log_variance).exp()
    return -0.5 * (squares + log_variance + math.log(2 * math.pi))


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of a diagonal normal, summed over the last axis, nats."""
    return log_normal_values(z, mean, log_variance).sum(dim=-1)


class ImportanceBound:
    """log(1/k sum_i w_i), its weights arriving in parts (Burda et al., 2016, arXiv:1509.00519,
    equation 8), and the standard error that follows from the weights' spread (delta method)."""

    def __init__(self) -> None:
        self._log_sums: list[Tensor] = []
        self._log_squares: list[Tensor] = []
        self._count = 0

    def add(self, log_weights: Tensor) -> None:
        """Take in log w, shape (B, K)."""
        self._log_sums.append(torch.logsumexp(log_weights, dim=1))
        self._log_squares.append(torch.logsumexp(2 * log_weights, dim=1))
        self._count += log_weights.shape[1]

    def nats(self) -> Tensor:
        """The bound, shape (B,); its gradient is that of log w weighted by w / sum_i w_i
        (section 3)."""
        return self._log_sum() - math.log(self._count)

    def standard_error(self) -> Tensor:
        """Of the bound as an estimate of its own expectation, shape (B,); NaN for one weight."""
        if self._count == 1:
            return torch.full_like(self._log_sums[0], math.nan)
        squares = torch.logsumexp(torch.stack(self._log_squares), dim=0)
        relative = torch.exp(squares - 2 * self._log_sum()) - 1 / self._count
        return (relative * self._count / (self._count - 1)).clamp(min=0).sqrt()

    def _log_sum(self) -> Tensor:
        return torch.logsumexp(torch.stack(self._log_sums), dim=0)


def importance_bound(
    log_weights: Callable[[int], Tensor], effort: int, measure: Literal["mass", "density"]
) -> Steps[Likelihood]:
    """The bound of `effort` importance samples, some at a time.

    Args:
        log_weights: how many to log w of that many new samples of each row, (B, k).
    """
    bound = ImportanceBound()
    for start in range(0, effort, IMPORTANCE_SAMPLES_AT_ONCE):
        bound.add(log_weights(min(IMPORTANCE_SAMPLES_AT_ONCE, effort - start)))
        yield math.ceil((effort - start) / IMPORTANCE_SAMPLES_AT_ONCE) - 1
    return Likelihood(bound.nats(), "lower_bound", bound.standard_error(), measure)


def log_importance_weights(
    x: Tensor,
    z: Tensor,
    posterior: Posterior,
    decode: Callable[[Tensor, int], Tensor],
    output: Output,
    dither: Noise,
) -> Tensor:
    """log w = log p(x | z) + log p(z) - log q(z | x) (Burda et al., equation 8), shape (B, k).

    Args:
        x: shape (B, *data shape).
        z: k samples of the posterior of each row, (B, k, D).
        decode: latents (B k, D) and k to the output's parameters, k rows for each row of x.
        dither: for dequantization, B rows.
    """
    rows, k, width = z.shape
    dequantized = torch.stack([output.dequantize(x, dither) for _ in range(k)], dim=1)
    log_p_x = output.log_prob(
        decode(z.reshape(rows * k, width), k), dequantized.flatten(0, 1)
    ).reshape(rows, k)
    log_p_z = log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
    log_q = log_normal(z, posterior.mean[:, None], log_variance_of(posterior)[:, None])
    return log_p_x + log_p_z - log_q


def log_variance_of(posterior: Posterior) -> Tensor:
    """The log-variance of a posterior that must have one, (B, D)."""
    if posterior.log_variance is None:
        raise ValueError("a bound needs a posterior with a variance")
    return posterior.log_variance


def variational_bound(
    x: Tensor,
    posterior: Posterior,
    decode: Callable[[Tensor, int], Tensor],
    output: Output,
    noise: Noise,
    effort: int,
) -> Steps[Likelihood]:
    """ELBO (effort 1, with the KL in closed form) or the importance bound of `effort` samples.

    Args:
        x: shape (B, *data shape).
        decode: latents (B k, D) and k to the output's parameters, k rows for each row of x.
        noise: B rows; each row's k-th sample is the same whatever the effort.
    """
    mean, log_variance = posterior.mean, log_variance_of(posterior)
    latents, dither = noise.stream("posterior"), noise.stream("dequantization")
    if effort == 1:
        z = reparameterize(mean, log_variance, latents.normal(mean.shape[1:]))
        reconstruction = output.log_prob(decode(z, 1), output.dequantize(x, dither))
        nats = reconstruction - kl_to_prior(mean, log_variance)
        unknown = torch.full_like(nats, math.nan)
        return Likelihood(nats, "lower_bound", unknown, output.measure)

    def log_weights(k: int) -> Tensor:
        epsilon = latents.normal((k, mean.shape[1]))  # (B, k, D)
        z = reparameterize(mean[:, None], log_variance[:, None], epsilon)
        return log_importance_weights(x, z, posterior, decode, output, dither)

    return (yield from importance_bound(log_weights, effort, output.measure))
