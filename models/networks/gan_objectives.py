"""What the two players of a GAN minimise, by the scores that the discriminator gives.

A score is the log-odds of being real, or whatever a critic without that reading says; every
objective pushes scores of real rows up and those of fakes down.

| objective | discriminator | generator | source |
|---|---|---|---|
| minimax | -log D(x) - log(1 - D(G(z))) | log(1 - D(G(z))) | Goodfellow et al., 2014, equation 1 |
| non_saturating | the same | -log D(G(z)) | the same, section 3 |
| least_squares | (D(x) - 1)^2 / 2 + D(G(z))^2 / 2 | (D(G(z)) - 1)^2 / 2 | Mao et al., 2017 |
| hinge | max(0, 1 - D(x)) + max(0, 1 + D(G(z))) | -D(G(z)) | Lim & Ye, 2017 |
| wasserstein | D(G(z)) - D(x) | -D(G(z)) | Arjovsky et al., 2017, arXiv:1701.07875 |
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

Objective: TypeAlias = Literal["minimax", "non_saturating", "least_squares", "hinge", "wasserstein"]
WITH_PROBABILITIES = ("minimax", "non_saturating")  # whose scores are log-odds


def discriminator_loss(
    objective: Objective, real: Tensor, fake: Tensor, real_target: float = 1.0
) -> Tensor:
    """Of scores (B,) of real rows and of fakes.

    Args:
        real_target: the probability that real rows are to have, below 1 for one-sided label
            smoothing (Salimans et al., 2016, arXiv:1606.03498, section 3.4).

    >>> import torch
    >>> discriminator_loss("wasserstein", torch.tensor([2.0, 4.0]), torch.tensor([1.0, 1.0]))
    tensor(-2.)
    """
    if objective in WITH_PROBABILITIES:
        wanted = F.softplus(-real) * real_target + F.softplus(real) * (1 - real_target)
        return wanted.mean() + F.softplus(fake).mean()
    if objective == "least_squares":
        return ((real - 1).square().mean() + fake.square().mean()) / 2
    if objective == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return fake.mean() - real.mean()


def generator_loss(objective: Objective, fake: Tensor) -> Tensor:
    """Of scores (B,) of fakes.

    >>> import torch
    >>> generator_loss("least_squares", torch.tensor([1.0, 3.0]))
    tensor(1.)
    """
    if objective == "minimax":
        return F.logsigmoid(-fake).mean()
    if objective == "non_saturating":
        return F.softplus(-fake).mean()
    if objective == "least_squares":
        return (fake - 1).square().mean() / 2
    return -fake.mean()
