"""Hierarchical (ladder) variational autoencoder (Sønderby et al., 2016, arXiv:1602.02282).

z_L -> ... -> z_2 -> z_1 -> x, each p(z_l | z_{l+1}) a Gaussian of learned mean and variance

Inference goes up without noise, x -> d_1 -> ... -> d_L, and down with it: what d_l says of z_l and
what p(z_l | z_{l+1}) says are combined by their precisions (equations 18 and 19).

A latent is the noise of all layers, top first: epsilon_l = (z_l - mean) / deviation under
p(z_l | z_{l+1}). So its prior is N(0, I), and all is computed in these coordinates: divergences
and ratios of densities are the same there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, Self, TypeAlias

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from models.capabilities import (
    Condition,
    Density,
    Encoder,
    LatentSpace,
    Likelihood,
    Posterior,
)
from models.conditions import ConditionSchema
from models.family import Family
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.coders import Coder, Decoder
from models.networks.gaussian_latent import GaussianLatent
from models.networks.outputs import output
from models.networks.stacks import ACTIVATIONS, dense, mean_row
from models.networks.variational import (
    VariationalConfig,
    importance_bound,
    kl_to_prior,
    log_normal,
    reparameterize,
)
from models.noise import Noise
from models.steps import Steps, finished

Normal: TypeAlias = tuple[Tensor, Tensor]  # mean and log-variance, both (B, D_l)


class HierarchicalVAEConfig(VariationalConfig):
    """`hidden` and its kin are of the networks between x and z_1, `between` of those above.

    Upper layers are easily left unused: the warm-up and smooth activations keep them in play.
    """

    latent_width: PositiveInt = 32  # of z_1, the layer next to x
    upper_widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (16,)  # of z_2 to z_L
    between: PositiveInt = 128  # width of the hidden layers between two layers of latents
    kl_warm_up: Annotated[float, Field(ge=0, le=1)] = 0.3  # share of training

    @property
    def widths(self) -> tuple[int, ...]:
        """Of z_1 to z_L."""
        return (self.latent_width, *self.upper_widths)

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        base = super().tiny(shape, condition)
        return base.model_copy(update={"upper_widths": (3,), "between": 32})


class HierarchicalVAE(Family[HierarchicalVAEConfig], GaussianLatent, Encoder, Density, Gradient):
    inference = "amortised"
    maximum_effort: ClassVar[int] = 10_000

    def __init__(self, config: HierarchicalVAEConfig) -> None:
        super().__init__(config)
        self.output = output(config.likelihood, pictures=len(config.shape) == 3)
        widths, between, activation = config.widths, config.between, config.activation
        self.encoder = Coder(config, 0, between)  # x to d_1
        self.upward = nn.ModuleList(  # d_l to d_{l+1}
            nn.Sequential(ACTIVATIONS[activation](), dense((between,) * 3, activation))
            for _ in widths[1:]
        )
        self.evidence_of = nn.ModuleList(  # d_l to what it says of z_l
            nn.Sequential(ACTIVATIONS[activation](), dense((between, 2 * width), activation))
            for width in widths
        )
        self.downward = nn.ModuleList(  # z_{l+1} to p(z_l | z_{l+1})
            dense((above, between, between, 2 * width), activation)
            for width, above in pairwise(widths)
        )
        self.decoder = Decoder(config, 0, self.output.numbers_per_value)

    @property
    def latent_width(self) -> int:
        return sum(self.config.widths)

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        """All layers' noise, and then each layer's part of it, in the order of the whole."""
        (whole,) = super().latent_spaces
        layers = [
            LatentSpace(name=f"z_{layer + 1}", shape=(width,), prior="standard_normal")
            for layer, width in reversed(list(enumerate(self.config.widths)))
        ]
        return (whole, *layers)

    def prior(self, layer: int, above: Tensor) -> Normal:
        """p(z_l | z_{l+1}); layers count from 0 here, the one next to x."""
        mean, log_variance = self.downward[layer](above).chunk(2, dim=1)
        return mean, log_variance

    def evidence(self, x: Tensor) -> list[Normal]:
        """What x says of each layer, the one next to x first; of the top it is the posterior."""
        found, features = [], self.encoder(x)
        for layer, said in enumerate(self.evidence_of):
            if layer:
                features = self.upward[layer - 1](features)
            mean, log_variance = said(features).chunk(2, dim=1)
            found.append((mean, log_variance))
        return found

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        self.check_condition(condition)
        top, *lower = torch.split(z, list(self.config.widths[::-1]), dim=1)
        below = top
        for layer, epsilon in zip(reversed(range(len(lower))), lower, strict=True):
            below = reparameterize(*self.prior(layer, below), epsilon)
        return self.output.mean(self.decoder(below))

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """Each layer's posterior given that the layers above are at their posterior means.

        Of the top layer that is the whole posterior. Of the others it leaves out what the doubt
        about the layers above adds: their variances are conditional ones, a little too small.
        """
        self.check_condition(condition)
        self.check_rows(x)
        layers, _ = self.descend(self.evidence(x), lambda mean, _: mean)
        means, log_variances = zip(*layers, strict=True)
        return Posterior(torch.cat(means, dim=1), torch.cat(log_variances, dim=1))

    def descend(
        self, evidence: Sequence[Normal], choose: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[list[Normal], Tensor]:
        """The posterior from the top down.

        Args:
            evidence: as `evidence` gives it.
            choose: mean and log-variance of a layer's epsilon to its value, of the same shape.
        Returns:
            q(epsilon_l | z_{l+1}, x) of each layer, the top first, and z_1.
        """
        layers = [evidence[-1]]
        z = choose(*layers[0])
        for layer in reversed(range(len(evidence) - 1)):
            mean, log_variance = self.prior(layer, z)
            layers.append(combine(evidence[layer], (mean, log_variance)))
            z = reparameterize(mean, log_variance, choose(*layers[-1]))
        return layers, z

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        return finished(self.scoring(x, noise, effort, condition))

    def scoring(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Steps[Likelihood]:
        """At effort 1 the ELBO, with each layer's KL in closed form and as a term of its own;
        beyond it the importance bound of `effort` samples."""
        self.check_condition(condition)
        self.check_rows(x)
        self.output.check(x)
        latents, dither = noise.stream("posterior"), noise.stream("dequantization")
        evidence = self.evidence(x)
        if effort == 1:
            terms = self._elbo_terms(x, evidence, latents, dither)
            nats = torch.stack(list(terms.values())).sum(dim=0)
            unknown = torch.full_like(nats, math.nan)
            return Likelihood(nats, "lower_bound", unknown, self.output.measure, terms)

        def log_weights(k: int) -> Tensor:
            return self._log_weights(x, evidence, latents, dither, k)

        return (yield from importance_bound(log_weights, effort, self.output.measure))

    def prepare(self, passes: Passes) -> None:
        mean = mean_row(passes())
        self.encoder.mean.copy_(mean)
        with torch.no_grad():
            self.decoder.bias.copy_(self.output.bias(mean))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        self.output.check(batch.x)
        evidence, dither = self.evidence(batch.x), noise.stream("dequantization")
        terms = self._elbo_terms(batch.x, evidence, noise, dither)
        costs = {f"{name}_nats": -term.mean() for name, term in terms.items()}
        reconstruction, *layers = costs.values()
        warmth = min(1.0, progress / self.config.kl_warm_up) if self.config.kl_warm_up else 1.0
        kl = torch.stack(layers).sum()
        return {"loss": reconstruction + self.config.beta * warmth * kl, **costs}

    def _elbo_terms(
        self, x: Tensor, evidence: Sequence[Normal], latents: Noise, dither: Noise
    ) -> dict[str, Tensor]:
        """log p(x | z_1) and minus each layer's KL, the top first, (B,), at one sample of z."""

        def draw(mean: Tensor, log_variance: Tensor) -> Tensor:
            return reparameterize(mean, log_variance, latents.normal(mean.shape[1:]))

        layers, z = self.descend(evidence, draw)
        reconstruction = self.output.log_prob(self.decoder(z), self.output.dequantize(x, dither))
        names = [f"kl_{layer + 1}" for layer in reversed(range(len(layers)))]
        divergences = [-kl_to_prior(*each) for each in layers]
        return {"reconstruction": reconstruction, **dict(zip(names, divergences, strict=True))}

    def _log_weights(
        self, x: Tensor, evidence: Sequence[Normal], latents: Noise, dither: Noise, k: int
    ) -> Tensor:
        """log p(x, z) - log q(z | x) of k samples of z, (B, k)."""
        rows = len(x)
        log_ratio = x.new_zeros(rows * k)

        def draw(mean: Tensor, log_variance: Tensor) -> Tensor:
            nonlocal log_ratio
            noise = latents.normal((k, mean.shape[1])).flatten(0, 1)  # (B k, D)
            epsilon = reparameterize(mean, log_variance, noise)
            zero = torch.zeros_like(mean)
            log_p = log_normal(epsilon, zero, zero)
            log_ratio = log_ratio + log_p - log_normal(epsilon, mean, log_variance)
            return epsilon

        repeated = [(m.repeat_interleave(k, 0), v.repeat_interleave(k, 0)) for m, v in evidence]
        _, z = self.descend(repeated, draw)
        dequantized = torch.stack([self.output.dequantize(x, dither) for _ in range(k)], dim=1)
        log_p_x = self.output.log_prob(self.decoder(z), dequantized.flatten(0, 1))
        return (log_p_x + log_ratio).reshape(rows, k)


def combine(evidence: Normal, prior: Normal) -> Normal:
    """The product of two Gaussians of z (Sønderby et al., equations 18 and 19), as a law of
    epsilon = (z - mean) / deviation of the second."""
    mean, log_variance = evidence
    prior_mean, prior_log_variance = prior
    # The precisions' share that is the evidence's; logarithms, so that no variance overflows.
    share = torch.sigmoid(prior_log_variance - log_variance)
    standardized = (mean - prior_mean) * (-0.5 * prior_log_variance).exp()
    return share * standardized, nn.functional.logsigmoid(log_variance - prior_log_variance)
