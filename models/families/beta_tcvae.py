"""beta-TCVAE (Chen et al., 2018, arXiv:1802.04942): a variational autoencoder whose latents are
pushed to be independent of each other, not to be uninformative.

The KL term's mean over the data is a sum of three (section 3), each with a weight of its own:

    alpha  I(z; n)                     what z tells of the row that it comes from
    beta   KL(q(z) || prod_j q(z_j))   the total correlation of the latents
    gamma  sum_j KL(q(z_j) || p(z_j))  how far each latent's law is from its prior

q(z) = 1/N sum_n q(z | x_n) is estimated from the batch that z comes from.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from models.learning import Batch, Losses, Passes
from models.networks.variational import VariationalConfig, log_normal_values, reparameterize
from models.networks.variational_family import VariationalFamily
from models.noise import Noise


class BetaTCVAEConfig(VariationalConfig):
    """`weights`: of the batch's rows in q(z), by minibatch stratified or weighted sampling."""

    alpha: NonNegativeFloat = 1.0  # weight of the mutual information
    beta: NonNegativeFloat = 6.0  # weight of the total correlation
    gamma: NonNegativeFloat = 1.0  # weight of the dimension-wise KL; all three 1 is the ELBO
    weights: Literal["stratified", "weighted"] = "stratified"


class BetaTCVAE(VariationalFamily[BetaTCVAEConfig]):
    config_type = BetaTCVAEConfig

    rows: Tensor

    def __init__(self, config: BetaTCVAEConfig) -> None:
        super().__init__(config)
        self.register_buffer("rows", torch.ones((), dtype=torch.float64))  # N, of training

    def prepare(self, passes: Passes) -> None:
        super().prepare(passes)
        self.rows.fill_(sum(len(batch) for batch in passes()))

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        self.output.check(batch.x)
        mean, log_variance = self.encoder(batch.x).chunk(2, dim=1)
        z = reparameterize(mean, log_variance, noise.normal(mean.shape[1:]))
        dequantized = self.output.dequantize(batch.x, noise.stream("dequantization"))
        reconstruction = -self.output.log_prob(self.decoder(z), dequantized).mean()
        log_shares = _LOG_SHARES[self.config.weights](len(z), float(self.rows))
        parts = decompose_kl(z, mean, log_variance, log_shares.to(z))
        weights = self.config.alpha, self.config.beta, self.config.gamma
        kl = sum(weight * part.mean() for weight, part in zip(weights, parts, strict=True))
        return {
            "loss": reconstruction + kl,
            "reconstruction_nats": reconstruction,
            "mutual_information_nats": parts.mutual_information.mean(),
            "total_correlation_nats": parts.total_correlation.mean(),
            "dimension_wise_kl_nats": parts.dimension_wise_kl.mean(),
        }


class KLParts(NamedTuple):
    """What log q(z | x) - log p(z) is the sum of, each of shape (B,), nats."""

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def decompose_kl(z: Tensor, mean: Tensor, log_variance: Tensor, log_shares: Tensor) -> KLParts:
    """The three parts of the KL term to N(0, I), from one sample of each posterior.

    Args:
        z: a sample of each row's posterior, (B, D).
        mean, log_variance: of the posteriors, (B, D).
        log_shares: log of the weight of row j's posterior in the q(z) of row i's z, (B, B).
    """
    # log q(z_i | x_j) of each latent, (B, B, D)
    pairs = log_normal_values(z[:, None], mean[None], log_variance[None])
    log_q_z_x = pairs.diagonal().sum(dim=0)
    log_q_z = torch.logsumexp(log_shares + pairs.sum(dim=2), dim=1)
    log_product = torch.logsumexp(log_shares[..., None] + pairs, dim=1).sum(dim=1)
    log_p_z = log_normal_values(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)
    return KLParts(log_q_z_x - log_q_z, log_q_z - log_product, log_product - log_p_z)


def stratified_log_shares(count: int, rows: float) -> Tensor:
    """Minibatch stratified sampling (Chen et al., appendix C.2), (count, count).

    Row i's own posterior has its true share 1/N; the others stand for the N - 1 other rows. The
    paper gives the last of them less than the rest; here each has the mean of what it would have
    in all orders, which leaves the expectation, q(z), and lessens the variance. A row alone stands
    for all, and its KL is then dimension-wise.
    """
    own = 1.0 if count == 1 else 1 / rows
    other = (1 - own) / max(1, count - 1)
    shares = torch.full((count, count), other, dtype=torch.float64)
    return shares.fill_diagonal_(own).log()


def weighted_log_shares(count: int, rows: float) -> Tensor:
    """Minibatch weighted sampling (Chen et al., section 3.1), (count, count): 1 / (N M) for each
    of the M rows. Their sum is 1 / N and not 1, so that q(z) comes out too small."""
    return torch.full((count, count), -math.log(rows * count), dtype=torch.float64)


_LOG_SHARES = {"stratified": stratified_log_shares, "weighted": weighted_log_shares}
