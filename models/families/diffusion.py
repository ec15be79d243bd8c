"""Denoising diffusion (Ho et al., 2020, arXiv:2006.11239), sampled by DDIM (Song et al., 2021,
arXiv:2010.02502), with classifier-free guidance (Ho & Salimans, 2022, arXiv:2207.12598).

x_0 --noise--> x_t --network (x_t, t, y)--> estimates of x_0 and noise --> x_s, s < t --> ... x_0

The latent is x_T: under eta = 0 all after it is determined. Inside, pictures lie in [-1, 1] and
points are standardized. `log_prob` is the variational bound; the density along the probability
flow (Song et al., 2021, arXiv:2011.13456) is another way of scoring.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from models.capabilities import (
    Condition,
    Conditional,
    Density,
    Encoder,
    Inpainter,
    Latent,
    LatentSpace,
    Likelihood,
    Option,
    Posterior,
    Sampler,
    Stepwise,
)
from models.conditions import ConditionSchema
from models.errors import InvalidInput, InvalidPicture, NotSupported, nearest
from models.family import Family, OptionalConditionConfig
from models.learning import Batch, Gradient, Losses, Passes
from models.networks.denoiser import Denoiser
from models.networks.diffusion_bound import (
    ReverseVariance,
    diffusion_bound,
    gaussian_density,
    gaussian_mass,
    step_divergence,
    variance_of_mean,
)
from models.networks.diffusion_schedules import (
    Prediction,
    Schedule,
    ScheduleName,
    across,
    estimates,
    target,
)
from models.networks.probability_flow import flow_divergence
from models.networks.unet import TimedMLP, UNet
from models.noise import Noise
from models.steps import Chains, Steps, finished

LARGEST_GUIDANCE = 20.0
LARGEST_RESAMPLINGS = 20
SMALLEST_SCALE = 1e-6  # of points that are all alike in a dimension


class DiffusionConfig(OptionalConditionConfig):
    timesteps: Annotated[int, Field(ge=2, le=10_000)] = 1000  # T
    schedule: ScheduleName = "linear"
    prediction: Prediction = "epsilon"
    # Of the reverse steps that the bound scores: `posterior` is beta-tilde, best for data that
    # lie on a few points, `beta` is best for smooth densities (Ho et al., section 3.2).
    variance: ReverseVariance = "posterior"
    steps: PositiveInt = 50  # of a sample, unless the caller says otherwise
    ode_steps: PositiveInt = 40  # Runge-Kutta steps of the probability flow
    condition_dropout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    guidance: Annotated[float, Field(ge=0, le=LARGEST_GUIDANCE)] = 1.0  # default of the option
    # Channels of the U-Net's first level; of points, the width of all layers.
    width: Annotated[int, Field(ge=8, multiple_of=4)] = 32
    multipliers: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=8)] = (1, 2, 2)
    blocks: PositiveInt = 1  # of a level, on the way down and up again; of points, in all
    attention: NonNegativeInt = 0  # largest height of feature maps with self-attention; 0: none

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.shape) not in (1, 3):
            raise ValueError("needs pictures, shape (C, H, W), or points, shape (D,)")
        if self.steps > self.timesteps:
            raise ValueError(f"steps: at most as many as timesteps, {self.timesteps}")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            timesteps=50,
            schedule="cosine",
            prediction="v",
            steps=10,
            ode_steps=10,
            conditional=bool(condition.attributes),
            condition_dropout=0.2,
            width=8,
            multipliers=(1, 2),
        )


class Diffusion(
    Family[DiffusionConfig],
    Sampler,
    Stepwise,
    Inpainter,
    Latent,
    Encoder,
    Density,
    Conditional,
    Gradient,
):
    # The trained network gives x_T, run along the flow from x to noise: nothing is searched for.
    inference = "amortised"
    maximum_effort: ClassVar[int] = 10_000
    methods: ClassVar[tuple[str, ...]] = ("ode",)

    centre: Tensor
    scale: Tensor

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__(config)
        schedule = Schedule(config.schedule, config.timesteps)
        network = _network(config)
        self.denoiser = Denoiser(network, schedule, config.prediction, self.has_pictures)
        start = torch.full((), 0.5) if self.has_pictures else torch.zeros(config.shape)
        self.register_buffer("centre", start)
        self.register_buffer("scale", start.clone() if self.has_pictures else start + 1)

    @property
    def schedule(self) -> Schedule:
        return self.denoiser.schedule

    @property
    def has_pictures(self) -> bool:
        return len(self.config.shape) == 3

    @property
    def condition_schema(self) -> ConditionSchema:
        return self.config.condition

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        return (LatentSpace(name="x_T", shape=self.config.shape, prior="standard_normal"),)

    @property
    def default_steps(self) -> int:
        return self.config.steps

    @property
    def largest_steps(self) -> int:
        return self.config.timesteps

    @property
    def options(self) -> Mapping[str, Option]:
        found = {
            "eta": Option(
                lowest=0.0,
                highest=1.0,
                default=0.0,
                description="How random the steps are: 0 is DDIM, 1 ancestral sampling (DDPM).",
            ),
            "resamplings": Option(
                lowest=1.0,
                highest=LARGEST_RESAMPLINGS,
                default=1.0,
                description="A whole number: how often each step is taken, noise added again in "
                "between (RePaint). The more, the better fits what is inpainted.",
            ),
        }
        if self.condition_schema.attributes:
            found["guidance"] = Option(
                lowest=0.0,
                highest=LARGEST_GUIDANCE,
                default=self.config.guidance,
                description="Classifier-free guidance: 1 is the model as trained, more obeys the "
                "condition more, 0 does not look at it.",
            )
        return found

    # Sampling

    def steps_in_all(self, steps: int, options: Mapping[str, float]) -> int:
        """All but the last, to x_0, are taken as often as `resamplings` says."""
        return round(options.get("resamplings", 1)) * (steps - 1) + 1

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.run_chains(noise, condition)

    def draw(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return noise.normal(self.config.shape)

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        """DDIM with eta = 0, in the default number of steps."""
        return finished(self.decoding(z, condition))

    def decoding(self, z: Tensor, condition: Condition | None = None) -> Steps[Tensor]:
        self.check_rows(z)
        unused = Noise.of_rows(seed=0, count=len(z), device=z.device)
        chains = self._begin_at(z, unused, condition, None, None)
        while left := int(chains.left.max()):
            chains = self.advance(chains)
            yield left - 1
        return self.finish(chains)

    def begin(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """As `Stepwise.begin`. A step is one evaluation of the network.

        Raises:
            InvalidInput: `steps` or an option is unknown or out of range.
        """
        return self._begin_at(self.draw(noise), noise, condition, steps, options)

    def begin_inpainting(
        self,
        x: Tensor,
        known: Tensor,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        """Before every step the known part is x's own, with the noise that belongs to the time
        (Lugmayr et al., 2022, arXiv:2201.09865, equation 8 and algorithm 1).

        Raises:
            WrongShape: x or `known` has another shape, or `known` is not bool.
            InvalidInput: as `begin`.
            InvalidPicture: what is known lies outside [0, 1], or is not finite.
        """
        self.check_rows(x)
        self.check_known(x, known)
        x = torch.where(known, x, self.centre)
        self._check_values(x)
        chains = self.begin(noise, condition, steps, options)
        tensors = {**chains.tensors, "given": x, "known": known}
        last = torch.full((len(x),), self.schedule.timesteps, device=x.device)
        tensors["x"] = self._with_known(tensors, last, chains.tensors["x"])
        return replace(chains, tensors=tensors)

    def advance(self, chains: Chains) -> Chains:
        """x_s = a_s x_0 + sqrt(s_s^2 - sigma^2) epsilon + sigma noise (DDIM, equation 12), with
        sigma^2 = eta^2 beta-tilde (equation 16); with `resamplings` then back to x_t, all but the
        last time."""
        tensors = chains.tensors
        x, eta = tensors["x"], tensors["eta"]
        t, s, is_last_time = self._times(chains)
        x0, epsilon = self.denoiser.estimates(x, t, tensors.get("y"), tensors.get("guidance"))
        a, spread = self.schedule.scales(s)
        sigma = eta * self.schedule.reverse(s, t).variance.sqrt()
        towards = (spread**2 - sigma**2).clamp(min=0).sqrt()
        x = across(a, x) * x0 + across(towards, x) * epsilon
        if bool((eta > 0).any()):
            x = x + across(sigma, x) * chains.noise("ancestral").normal(self.config.shape)
        if "known" in tensors:
            x = self._with_known(tensors, s, x, chains.noise("known").normal(self.config.shape))
        if not bool(is_last_time.all()):
            beta = self.schedule.beta(s, t)
            fresh = chains.noise("resampling").normal(self.config.shape)
            again = across((1 - beta).sqrt(), x) * x + across(beta.sqrt(), x) * fresh
            x = torch.where(across(is_last_time, x).bool(), x, again)
        return chains.advanced({"x": x})

    def finish(self, chains: Chains) -> Tensor:
        """x_0; of chains that are not done, what they predict it to be."""
        tensors = chains.tensors
        x, under_way = tensors["x"], (chains.left > 0).to(tensors["x"].device)
        if bool(under_way.any()):
            t, _, _ = self._times(chains)
            x0, _ = self.denoiser.estimates(x, t, tensors.get("y"), tensors.get("guidance"))
            x = torch.where(across(under_way, x).bool(), x0, x)
        shown = self.centre + self.scale * x
        if "known" in tensors:  # exactly: what was standardized and back is so but for rounding
            shown = torch.where(tensors["known"], tensors["given"], shown)
        return shown.clamp(0, 1) if self.has_pictures else shown

    def _begin_at(
        self,
        x: Tensor,
        noise: Noise,
        condition: Condition | None,
        steps: int | None,
        options: Mapping[str, float] | None,
    ) -> Chains:
        y = self.check_condition(condition)
        steps = self.config.steps if steps is None else steps
        if not 1 <= steps <= self.config.timesteps:
            raise InvalidInput(f"steps go from 1 to {self.config.timesteps}, got {steps}", "steps")
        chosen = self._chosen(options or {})
        in_all = self.steps_in_all(steps, chosen)
        resamplings = round(chosen.pop("resamplings"))
        rows = torch.ones(len(x), dtype=torch.float64, device=x.device)
        tensors = {"x": x, **{name: value * rows for name, value in chosen.items()}}
        tensors["steps"] = (steps * rows).long()
        tensors["resamplings"] = (resamplings * rows).long()
        if y is not None:
            tensors["y"] = y
        return Chains.begun(tensors, noise, in_all)

    def _chosen(self, given: Mapping[str, float]) -> dict[str, float]:
        """Every option's value."""
        known = self.options
        for name, value in given.items():
            if name not in known:
                raise InvalidInput(f"no option {name!r}{nearest(name, known)}", name)
            low, high = known[name].lowest, known[name].highest
            if not low <= value <= high:
                raise InvalidInput(f"{name} goes from {low:g} to {high:g}, got {value:g}", name)
        return {name: given.get(name, option.default) for name, option in known.items()}

    def _times(self, chains: Chains) -> tuple[Tensor, Tensor, Tensor]:
        """The times t and s that each chain's step goes between, and whether it takes this step
        for the last time. Each of shape (B,)."""
        tensors = chains.tensors
        steps, resamplings = tensors["steps"], tensors["resamplings"]
        done = torch.div(chains.taken.to(steps.device), resamplings, rounding_mode="floor")
        index = (steps - done).clamp(min=1)  # chains that are done count as at their last step
        again = chains.taken.to(steps.device) % resamplings < resamplings - 1
        t, s = self.schedule.respaced(index, steps), self.schedule.respaced(index - 1, steps)
        return t, s, ~again | (index == 1)

    def _with_known(
        self, tensors: Mapping[str, Tensor], t: Tensor, x: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """x_t with the known part diffused to time t, by x's own noise where none is given."""
        a, spread = self.schedule.scales(t)
        given = self._standardized(tensors["given"])
        diffused = across(a, x) * given + across(spread, x) * (x if noise is None else noise)
        return torch.where(tensors["known"], diffused, x)

    # Encoding

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        """x_T by DDIM's steps taken the other way (Song et al., section 5.4). It is a point, and
        the nearer to what decodes to x the more steps there are."""
        return finished(self.encoding(x, condition))

    def encoding(self, x: Tensor, condition: Condition | None = None) -> Steps[Posterior]:
        self.check_rows(x)
        y = self.check_condition(condition)
        z, steps = self._standardized(x), self.config.steps
        guidance = torch.full((len(z),), self.config.guidance, device=z.device)
        whole = torch.full((len(z),), steps, device=z.device)
        for index in range(steps):
            now = self.schedule.respaced(torch.full_like(whole, index), whole)
            later = self.schedule.respaced(torch.full_like(whole, index + 1), whole)
            # The network knows no t = 0; t = 1 is as good as clean.
            _, epsilon = self.denoiser.estimates(z, now.clamp(min=1), y, guidance)
            (a, spread), (to_a, to_spread) = self.schedule.scales(now), self.schedule.scales(later)
            shrunk = to_a / a
            z = across(shrunk, z) * z + across(to_spread - shrunk * spread, z) * epsilon
            yield steps - 1 - index
        return Posterior(z)

    # Likelihood

    def log_prob(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Likelihood:
        """The variational bound, L_T + sum of L_{t-1} + L_0 (Ho et al., equation 5), as `terms`
        prior, diffusion and decoder: a mass of pictures, a density of points.

        `effort` is of how many timesteps the sum is drawn, one from each of as many strata;
        from T - 1 on there are no others, and each has its own noise.
        """
        return finished(self.scoring(x, noise, effort, condition))

    def scoring(
        self, x: Tensor, noise: Noise, effort: int = 1, condition: Condition | None = None
    ) -> Steps[Likelihood]:
        y = self.check_condition(condition)

        def denoise(x_t: Tensor, t: Tensor, count: int) -> Tensor:
            repeated = None if y is None else y.repeat_interleave(count, dim=0)
            return self.denoiser.estimates(x_t, t, repeated)[0]

        terms, variance = yield from diffusion_bound(
            self._scored(x),
            denoise,
            self.schedule,
            self.config.variance,
            gaussian_mass if self.has_pictures else gaussian_density,
            noise,
            effort,
        )
        if not self.has_pictures:
            terms = {**terms, "decoder": terms["decoder"] + self._log_volume()}
        nats = torch.stack(list(terms.values())).sum(dim=0)
        measure: Literal["mass", "density"] = "mass" if self.has_pictures else "density"
        return Likelihood(nats, "lower_bound", variance.sqrt(), measure, terms)

    def scoring_by(
        self,
        method: str,
        x: Tensor,
        noise: Noise,
        effort: int = 1,
        condition: Condition | None = None,
    ) -> Steps[Likelihood]:
        """`ode`: the density that the probability flow has at x, as at t = 1, `effort` being the
        number of Hutchinson's probes. Pictures are dequantized, and the density is that of
        (255 x + u) / 256, u uniform, as `outputs.Gaussian` has it.

        The whole times of the schedule are made continuous linearly in log(s / a).

        Raises:
            NotSupported: another method was asked for.
        """
        if method != "ode":
            raise NotSupported(f"this model does not score by {method}; it does by ode")
        y = self.check_condition(condition)
        x = self._scored(x)
        log_volume = self._log_volume()
        if self.has_pictures:
            dither = noise.stream("dequantization").uniform(self.config.shape)
            x = x + self.scale.reciprocal() * (dither - 0.5) / 255
            log_volume = log_volume + self.dimensions * math.log(256 / 255)
        steps, ratios = self.config.ode_steps, self.schedule.log_ratios()
        first, last = float(ratios[0]), float(ratios[-1])
        grid = [first + (last - first) * step / steps for step in range(steps + 1)]
        a = self.schedule.alpha_bar[1].sqrt()

        def drift(at: Tensor, log_ratio: float) -> Tensor:
            return self.denoiser.flow(at, log_ratio, y)

        probes = noise.stream("probes")
        z, divergence = yield from flow_divergence(drift, a.to(x) * x, grid, probes, effort)
        squares = z.double().square().flatten(1).sum(dim=1)
        prior = -0.5 * (squares + self.dimensions * math.log(2 * math.pi))
        log_volume = log_volume + self.dimensions * a.log()
        nats = prior + divergence.mean(dim=1) + log_volume
        return Likelihood(nats, "estimate", variance_of_mean(divergence).sqrt(), "density")

    # Learning

    def prepare(self, passes: Passes) -> None:
        """Mean and standard deviation of points; pictures have fixed ones."""
        if self.has_pictures:
            return
        x = torch.cat([batch.x for batch in passes()]).double()
        self.centre.copy_(x.mean(dim=0))
        self.scale.copy_(x.std(dim=0, correction=0).clamp(min=SMALLEST_SCALE))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        """Mean squared error of what is predicted (L_simple, Ho et al., equation 14), and the
        diffusion term of the bound that the same errors estimate."""
        y, x0 = self.check_condition(batch.condition), self._standardized(batch.x)
        t = self._stratified_times(noise.stream("times"))
        epsilon = noise.normal(self.config.shape)
        a, s = (across(each, x0) for each in self.schedule.scales(t))
        noisy = a * x0 + s * epsilon
        is_dropped = None
        if y is not None:
            is_dropped = noise.stream("dropout").uniform() < self.config.condition_dropout
        predicted = self.denoiser.network(noisy, t, y, is_dropped)
        kind = self.config.prediction
        loss = (predicted - target(kind, x0, epsilon, a, s)).square().mean()
        with torch.no_grad():
            estimate, _ = estimates(kind, predicted, noisy, a, s)
            error = (self.denoiser.clipped(estimate) - x0).double().square().flatten(1).sum(dim=1)
            later = t.clamp(min=2)
            nats = step_divergence(
                error, self.dimensions, later, self.schedule, self.config.variance
            )
            diffusion = self.config.timesteps * torch.where(t > 1, nats, 0.0).mean()
        return {"loss": loss, "diffusion_nats": diffusion}

    def _stratified_times(self, noise: Noise) -> Tensor:
        """A time for each row, uniform from 1 to T, one row in each of B equal parts."""
        place, within = noise.uniform((2,)).double().unbind(dim=1)
        # By the rank of another number, so that a row is not in the same part each time.
        part = place.argsort().argsort()
        t = 1 + ((part + within) / len(noise) * self.config.timesteps).long()
        return t.clamp(max=self.config.timesteps)

    # Scales

    def _standardized(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale

    def _scored(self, x: Tensor) -> Tensor:
        """x as the network sees it, once it is sure that it has a likelihood."""
        self.check_rows(x)
        self._check_values(x)
        return self._standardized(x)

    def _check_values(self, x: Tensor) -> None:
        fits = ((x >= 0) & (x <= 1)) if self.has_pictures else x.isfinite()
        if not bool(fits.all()):
            expected = "pictures in [0, 1]" if self.has_pictures else "finite numbers"
            raise InvalidPicture(f"this model is about {expected}", "pictures")

    def _log_volume(self) -> Tensor:
        """log |d standardized x / d x|."""
        return -self.scale.double().log().expand(self.config.shape).sum()


def _network(config: DiffusionConfig) -> nn.Module:
    width = config.condition.width
    if len(config.shape) == 1:
        return TimedMLP(config.shape[0], config.width, config.blocks, width, config.timesteps)
    channels = [config.width * multiplier for multiplier in config.multipliers]
    return UNet(config.shape, channels, config.blocks, config.attention, width, config.timesteps)
