"""VQ-VAE (van den Oord et al., 2017, arXiv:1711.00937).

x --encoder--> a vector for each place of a grid --nearest entry of a codebook--> decoder --> x

Gradients pass the choice of an entry straight through to the encoder, which is also drawn to what
it chose. The codebook follows the vectors by running means (appendix A.1). Once codes are learned,
a gated PixelCNN learns the law of their grids: a sample is decoded from a grid that it drew.

Entries that no vector chooses any more may restart at vectors of the batch (Dhariwal et al., 2020,
arXiv:2005.00341), and all may begin at the centres that k-means finds among the encoded data
(Łańcucki et al., 2020, arXiv:2005.08520).

D is the width of a vector, K how many entries there are, (h, w) the grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor, nn

from models import registry
from models.capabilities import (
    Condition,
    Encoder,
    Latent,
    LatentSpace,
    Posterior,
    Sampler,
    Stepwise,
)
from models.conditions import ConditionSchema
from models.family import Family, FamilyConfig
from models.learning import Batch, Gradient, Losses, Passes, Stage, Staged
from models.networks.clustering import (
    k_means_plus_plus,
    lloyd,
    spread_rows,
    squared_distances,
)
from models.networks.stacks import mean_row
from models.noise import Noise
from models.steps import Chains

VECTORS_PER_ENTRY = 50  # that k-means looks at
K_MEANS_STEPS = 20


class VQVAEConfig(FamilyConfig):
    entries: Annotated[int, Field(ge=2)] = 256  # K
    code_width: PositiveInt = 32  # D
    downsampling: Literal[2, 4] = 4  # pixels to a place of the grid, along each side
    channels: Annotated[int, Field(ge=2)] = 64  # of the convolutions at the grid's size
    residual_blocks: PositiveInt = 2
    beta: NonNegativeFloat = 0.25  # weight of the commitment
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.99  # gamma, of the running means
    first_entries: Literal["normal", "k_means"] = "k_means"
    # Vectors a batch, in the running mean, below which an entry counts as dead; 0: none restarts.
    restart_below: Annotated[float, Field(ge=0, le=1)] = 0.0
    # Of the PixelCNN over the grids.
    prior_channels: PositiveInt = 32
    prior_layers: PositiveInt = 6
    prior_features: PositiveInt = 64
    prior_embedding: NonNegativeInt = 16  # of the vector that an index is seen as

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.shape) != 3:
            raise ValueError("needs pictures, shape (C, H, W)")
        if any(side % self.downsampling for side in self.shape[1:]):
            raise ValueError(f"needs sides that are multiples of {self.downsampling}")
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            entries=32,
            code_width=8,
            downsampling=2,
            channels=16,
            residual_blocks=1,
            prior_channels=8,
            prior_layers=2,
            prior_features=16,
            prior_embedding=4,
        )

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w)."""
        _, height, width = self.shape
        return height // self.downsampling, width // self.downsampling


class VQVAE(Family[VQVAEConfig], Sampler, Latent, Stepwise, Encoder, Staged, Gradient):
    inference = "amortised"
    steps_share_work: ClassVar[bool] = True

    mean: Tensor
    variance: Tensor

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__(config)
        # Of the data: encoder and decoder work on what a picture differs by from the mean one,
        # and errors count in units of the variance, so that one beta serves every data set.
        self.register_buffer("mean", torch.zeros(config.shape))
        self.register_buffer("variance", torch.ones(()))
        self.encoder = nn.Sequential(*_encoder_layers(config))
        self.codebook = Codebook(config.entries, config.code_width, config.decay)
        self.decoder = nn.Sequential(*_decoder_layers(config))
        self.prior: Any = registry.build(
            "pixelcnn",
            {
                "shape": (1, *config.grid),
                "likelihood": "categorical",
                "levels": config.entries,
                "embedding_width": config.prior_embedding,
                "channels": config.prior_channels,
                "layers": config.prior_layers,
                "first_kernel": 5,
                "features": config.prior_features,
            },
        )

    @property
    def latent_spaces(self) -> tuple[LatentSpace, ...]:
        shape = (self.config.code_width, *self.config.grid)
        return (LatentSpace(name="codes", shape=shape, prior="fitted"),)

    @property
    def default_steps(self) -> int:
        steps: int = self.prior.default_steps
        return steps

    def sample(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        return self.decode(self.draw(noise), condition)

    def draw(self, noise: Noise, condition: Condition | None = None) -> Tensor:
        z: Tensor = self.codebook(self._grids(self.prior.sample(noise)))
        return z

    def decode(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        """Also of vectors that are no entries, as lie between two codes: the nearest are taken."""
        self.check_condition(condition)
        quantized = self.codebook(self.codebook.nearest(z))
        return self._reconstructed(quantized).clamp(0, 1)

    def encode(self, x: Tensor, condition: Condition | None = None) -> Posterior:
        self.check_condition(condition)
        return Posterior(self.codebook(self.indices(x)))

    def indices(self, x: Tensor) -> Tensor:
        """The entries that pictures are encoded to, (B, C, H, W) to int64 (B, h, w)."""
        self.check_rows(x)
        return self.codebook.nearest(self._vectors(x))

    def begin(
        self,
        noise: Noise,
        condition: Condition | None = None,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
    ) -> Chains:
        chains: Chains = self.prior.begin(noise, condition, steps, options)
        return chains

    def advance(self, chains: Chains) -> Chains:
        advanced: Chains = self.prior.advance(chains)
        return advanced

    def finish(self, chains: Chains) -> Tensor:
        """Places of the grid that are not drawn yet show one entry or other."""
        return self.decode(self.codebook(self._grids(self.prior.finish(chains))))

    def stages(self) -> tuple[Stage, ...]:
        return (
            Stage("autoencoder", self, frozen=(self.prior,)),
            Stage("prior", self.prior, self._as_pictures),
        )

    @torch.no_grad()
    def prepare(self, passes: Passes) -> None:
        self.mean.copy_(mean_row(passes()))
        rows, squares = 0, 0.0
        for batch in passes():
            rows += len(batch)
            squares += (batch.x - self.mean).square().sum(dtype=torch.float64).item()
        self.variance.fill_(max(squares / (rows * self.dimensions), 1e-6))
        wanted = VECTORS_PER_ENTRY * self.config.entries // math.prod(self.config.grid)
        x = spread_rows(passes, rows, min(max(wanted, 1), rows)).float()
        x = x.reshape(-1, *self.config.shape)
        self._standardize(_flat(self._vectors(x)))
        if self.config.first_entries == "k_means":
            self.codebook.start_at_centres(_flat(self._vectors(x)))

    def _standardize(self, vectors: Tensor) -> None:
        """Scale the encoder's last layer so that the numbers of vectors, (M, D), begin with mean 0
        and deviation 1 (as Salimans & Kingma, 2016, arXiv:1602.07868, section 3): much smaller than
        the entries, all vectors would choose one."""
        deviation, mean = torch.std_mean(vectors, dim=0, correction=0)
        deviation = deviation.where(deviation > 1e-6, 1)  # all equal: nothing to scale
        last: Any = self.encoder[-1]
        last.weight.div_(deviation[:, None, None, None])
        last.bias.sub_(mean).div_(deviation)

    def losses(self, batch: Batch, noise: Noise, progress: float) -> Losses:
        self.check_rows(batch.x)
        vectors = self._vectors(batch.x)
        indices = self.codebook.nearest(vectors)
        quantized = self.codebook(indices)
        reconstructed = self._reconstructed(straight_through(vectors, quantized))
        error = (reconstructed - batch.x).square().mean()
        commitment = (vectors - quantized).square().mean()
        if self.training:
            self.codebook.follow(_flat(vectors.detach()), indices.flatten())
            if self.config.restart_below:
                self.codebook.restart(
                    _flat(vectors.detach()),
                    noise.stream("restarts").uniform(self.config.grid).flatten(),
                    self.config.restart_below,
                )
        return {
            "loss": error / self.variance + self.config.beta * commitment,
            "squared_error": error,
            "commitment": commitment,
            "perplexity": perplexity(indices.flatten().bincount(minlength=self.config.entries)),
        }

    def _vectors(self, x: Tensor) -> Tensor:
        """What the encoder makes of pictures, (B, D, h, w)."""
        vectors: Tensor = self.encoder(x - self.mean)
        return vectors.float()

    def _reconstructed(self, quantized: Tensor) -> Tensor:
        difference: Tensor = self.decoder(quantized)
        return difference.float() + self.mean

    def _as_pictures(self, batch: Batch) -> Batch:
        """The grids of some pictures in the form of what the prior is about, (B, 1, h, w)."""
        return Batch(self.prior.pictures_of(self.indices(batch.x).flatten(1)))

    def _grids(self, pictures: Tensor) -> Tensor:
        """The reverse of that, int64 (B, h, w)."""
        symbols: Tensor = self.prior.symbols_of(pictures)
        return symbols.reshape(-1, *self.config.grid)


class Codebook(nn.Module):
    """K vectors, each the running mean of the encoder's vectors that were nearest to it.

    With N_i the running mean of how many those were in a batch, and m_i = N_i e_i of their sum,
    a batch in which n_i vectors z chose e_i changes them by (appendix A.1 of the paper)
    N_i <- g N_i + (1 - g) n_i, m_i <- g m_i + (1 - g) sum z, e_i <- m_i / N_i.
    """

    entries: Tensor  # e, (K, D)
    uses: Tensor  # N, (K,)

    def __init__(self, count: int, width: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("entries", torch.randn(count, width))
        self.register_buffer("uses", torch.ones(count))

    def forward(self, indices: Tensor) -> Tensor:
        """The entries of a grid, (B, h, w) to (B, D, h, w)."""
        return F.embedding(indices, self.entries).movedim(-1, 1)

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Of each place's vector the nearest entry, (B, D, h, w) to int64 (B, h, w)."""
        found = squared_distances(_flat(vectors), self.entries).argmin(dim=1)
        return found.reshape(len(vectors), *vectors.shape[2:])

    @torch.no_grad()
    def follow(self, vectors: Tensor, indices: Tensor) -> None:
        """Take in a batch of vectors, (M, D), and the entries they chose, (M,)."""
        chosen = F.one_hot(indices, len(self.entries)).to(vectors)
        counts, sums = chosen.sum(dim=0), chosen.T @ vectors
        share = (1 - self.decay) / (self.decay * self.uses + (1 - self.decay) * counts)
        # The equations solved for the entries: one that nobody chose stays exactly where it is,
        # also once its N is too small for its m to be written as a number.
        moved = self.entries + share[:, None] * (sums - counts[:, None] * self.entries)
        self.entries.copy_(torch.where(counts[:, None] > 0, moved, self.entries))
        self.uses.mul_(self.decay).add_(counts, alpha=1 - self.decay)

    @torch.no_grad()
    def restart(self, vectors: Tensor, scores: Tensor, below: float) -> None:
        """Move entries of fewer uses to vectors, (M, D), those of the lowest scores, (M,); they
        count as used once, as at the beginning."""
        dead = (self.uses < below).nonzero()[:, 0][: len(vectors)]
        self.entries[dead] = vectors[scores.argsort(stable=True)[: len(dead)]]
        self.uses[dead] = 1

    @torch.no_grad()
    def start_at_centres(self, vectors: Tensor) -> None:
        """Begin where k-means finds centres of vectors, (M, D)."""
        x = vectors.double()
        count = min(len(self.entries), len(x))
        first = k_means_plus_plus(x, count, Noise.of_rows(0, device=x.device))
        centres, _, _ = lloyd(x, first, K_MEANS_STEPS, tolerance=0.0)
        self.entries[:count] = centres.float()


def straight_through(vectors: Tensor, quantized: Tensor) -> Tensor:
    """The quantized vectors; their gradient goes to the vectors as it is (section 3.2)."""
    return vectors + (quantized - vectors).detach()


def perplexity(counts: Tensor) -> Tensor:
    """exp(entropy) of how often each of K entries was chosen: from 1 to K, as many as equally
    often chosen ones would be.

    >>> round(perplexity(torch.tensor([3.0, 3.0, 0.0])).item(), 4)
    2.0
    """
    found: Tensor = torch.special.entr(counts / counts.sum()).sum().exp()
    return found


class ResidualBlock(nn.Module):
    """ReLU, 3x3 convolution, ReLU, 1x1 convolution, added to what came (section 4.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, h: Tensor) -> Tensor:
        added: Tensor = self.layers(h)
        return h + added


def _stages(config: VQVAEConfig) -> list[int]:
    """Channels from the picture to the grid, a halving between each two."""
    between = [config.channels // 2] if config.downsampling == 4 else []
    return [config.shape[0], *between, config.channels]


def _encoder_layers(config: VQVAEConfig) -> Iterator[nn.Module]:
    for before, after in pairwise(_stages(config)):
        yield from (nn.Conv2d(before, after, 4, 2, 1), nn.ReLU())
    yield nn.Conv2d(config.channels, config.channels, 3, 1, 1)
    yield from (ResidualBlock(config.channels) for _ in range(config.residual_blocks))
    yield from (nn.ReLU(), nn.Conv2d(config.channels, config.code_width, 1))


def _decoder_layers(config: VQVAEConfig) -> Iterator[nn.Module]:
    yield nn.Conv2d(config.code_width, config.channels, 3, 1, 1)
    yield from (ResidualBlock(config.channels) for _ in range(config.residual_blocks))
    for before, after in pairwise(_stages(config)[::-1]):
        yield from (nn.ReLU(), nn.ConvTranspose2d(before, after, 4, 2, 1))


def _flat(grids: Tensor) -> Tensor:
    """Vectors of grids, (B, D, h, w), one after the other, (B h w, D)."""
    return grids.movedim(1, -1).flatten(0, 2)
