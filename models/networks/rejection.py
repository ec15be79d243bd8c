"""Discriminator rejection sampling (Azadi et al., 2019, arXiv:1810.06758): of what a generator
makes, that is kept which the discriminator finds like the data, and more of it the liker it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.capabilities import Critic, Sampler
from models.learning import ClosedForm, Passes
from models.noise import Noise

CALIBRATION_ROWS = 2000
PERCENTILES = 101
SMALLEST = 1e-6  # the paper's epsilon, for the sample that is liked most of all


def acceptance(score: Tensor, percentile: Tensor, quantiles: Tensor) -> Tensor:
    """The probability that a sample is kept (the paper's equations 5 to 8).

    F = s - s_M - log(1 - exp(s - s_M - epsilon)), where s_M is the largest score of all, and a
    sample is kept with probability sigmoid(F - gamma): gamma is F at the given percentile of the
    generator's samples, of which such a one is kept with probability one half.

    Args:
        score: log-odds of being real, (B,).
        percentile: 0 to 100, (B,).
        quantiles: of the scores of the generator's samples, at equal steps from least to largest.

    >>> quantiles = torch.linspace(-2, 2, 101)
    >>> acceptance(torch.tensor([0.0, -2.0]), torch.tensor([50.0, 50.0]), quantiles)
    tensor([0.5000, 0.1065])
    """
    most = quantiles[-1]
    place = percentile.to(quantiles) / 100 * (len(quantiles) - 1)
    below = place.floor().long().clamp(max=len(quantiles) - 2)
    gamma_score = torch.lerp(quantiles[below], quantiles[below + 1], place - below)
    return (_log_odds(score, most) - _log_odds(gamma_score, most)).sigmoid()


def _log_odds(score: Tensor, most: Tensor) -> Tensor:
    """F of scores; one above the largest that was seen counts as the largest."""
    below = (score - most).clamp(max=0)
    return below - torch.log1p(-(below - SMALLEST).exp())


class Calibration(nn.Module, ClosedForm):
    """Learns how a finished generator's samples are scored, for the percentiles of `acceptance`."""

    def __init__(self, model: nn.Module, quantiles: Tensor) -> None:
        """
        Args:
            model: a Sampler and Critic.
            quantiles: a buffer of it, (PERCENTILES,), which is filled.
        """
        super().__init__()
        self.model = model
        self.quantiles = quantiles

    @torch.no_grad()
    def fit(self, passes: Passes) -> None:
        """Conditions are those of the training rows."""
        assert isinstance(self.model, Sampler)
        assert isinstance(self.model, Critic)
        scores: list[Tensor] = []
        rows = 0
        while rows < CALIBRATION_ROWS:  # few data are gone over several times
            for batch in passes():
                noise = Noise.of_rows(0, rows, len(batch), batch.x.device).stream("calibration")
                x = self.model.sample(noise, batch.condition)
                scores.append(self.model.criticise(x, batch.condition))
                rows += len(batch)
                if rows >= CALIBRATION_ROWS:
                    break
        steps = torch.linspace(0, 1, PERCENTILES, dtype=torch.float64)
        found = torch.quantile(torch.cat(scores).double().cpu(), steps)
        self.quantiles.copy_(found)
