"""Sliced Wasserstein distance between patches of two sets of pictures, at each scale of a Laplacian
pyramid (Karras et al., 2018, arXiv:1710.10196, section 5; Rabin et al., 2011)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.evidence import Evidence
from metrics.intervals import error_of_parts
from metrics.metric import Measured, Metric
from models.errors import WrongShape

SMALLEST_SIDE = 16  # of the pyramid's last level
PATCH = 7  # pixels
PATCHES = 128  # of a picture
REPEATS, DIRECTIONS = 4, 128
PARTS = 4  # whose spread gives the standard error
_FILTER = (1.0, 4.0, 6.0, 4.0, 1.0)


class SlicedWasserstein(NamedTuple):
    """Distances times 1,000, by the side of the level, the finest first; and their mean."""

    of_levels: dict[int, float]
    mean: float


def sliced_wasserstein(real: Tensor, samples: Tensor, seed: int = 0) -> SlicedWasserstein:
    """Each level's patches, 128 of 7x7x3 from each picture, are normalised by channel over their
    own set, projected on 4 x 128 random directions, sorted, and compared; 0 is best.

    Fine levels see texture, the last one, which keeps what the others leave, the picture at large.
    It is blind to where in a picture patches lie. The paper takes 16,384 pictures of each set; of
    few, two halves of real pictures are far apart too, so give that distance beside it.

    Args:
        real, samples: (N, C, S, S) in [0, 1], C = 1 (taken as grey of three channels) or 3, S a
            power of two from 16; equally many.
        seed: of the places and directions, which are the same for equal shapes.
    Raises:
        WrongShape: they are no such sets.
    """
    side = real.shape[-1]
    is_power = side >= SMALLEST_SIDE and side & (side - 1) == 0
    if real.shape != samples.shape or real.dim() != 4 or real.shape[2] != side or not is_power:
        raise WrongShape(
            "expected equally many square pictures, sides a power of two from "
            f"{SMALLEST_SIDE}, got {tuple(real.shape)} and {tuple(samples.shape)}"
        )
    if real.shape[1] not in (1, 3):
        raise WrongShape(f"expected pictures of 1 or 3 channels, got {real.shape[1]}")
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    found = {}
    pyramids = [laplacian_pyramid(255 * x.float().expand(-1, 3, -1, -1)) for x in (real, samples)]
    for levels in zip(*pyramids, strict=True):
        side = levels[0].shape[-1]
        described = []
        for level in levels:
            count, half = len(level) * PATCHES, PATCH // 2
            places = generator.integers(half, side - half, (count, 2))
            described.append(descriptors(level, torch.from_numpy(places)))
        size = (REPEATS, described[0].shape[1], DIRECTIONS)
        directions = torch.from_numpy(generator.standard_normal(size, dtype=np.float32))
        distances = sliced_distances(described[0], described[1], directions.to(real.device))
        found[side] = 1000 * distances.mean().item()
    return SlicedWasserstein(found, sum(found.values()) / len(found))


def laplacian_pyramid(x: Tensor) -> list[Tensor]:
    """Pictures (B, C, S, S) as what each level adds to the next coarser one, down to a side of 16;
    the last level is what is left."""
    levels = [x]
    while levels[-1].shape[-1] > SMALLEST_SIDE:
        coarse = _filtered(levels[-1])[:, :, ::2, ::2]
        levels[-1] = levels[-1] - _enlarged(coarse)
        levels.append(coarse)
    return levels


def descriptors(level: Tensor, places: Tensor) -> Tensor:
    """Patches of pictures (B, C, S, S) around given places, normalised: (R, C 7 7).

    Args:
        places: column and row of each middle, (R, 2); equally many of each picture, in their order.
    """
    picture = torch.arange(len(places), device=level.device) // (len(places) // len(level))
    columns, rows = (places.to(level.device) - PATCH // 2).unbind(dim=1)
    windows = level.unfold(2, PATCH, 1).unfold(3, PATCH, 1).mT  # columns before rows
    found = windows.permute(0, 2, 3, 1, 4, 5)[picture, rows, columns]  # (R, C, 7, 7)
    found -= found.mean(dim=0).mean(dim=(1, 2), keepdim=True)
    found /= found.square().mean(dim=0).mean(dim=(1, 2), keepdim=True).sqrt()
    return found.flatten(1)


def sliced_distances(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """Of two sets of as many vectors, (R, D): the mean distance of their sorted projections on
    directions (repeats, D, K), which need not have length 1; one of each repeat."""
    found = []
    for each in directions:
        unit = each / torch.linalg.vector_norm(each, dim=0, keepdim=True)
        along_a, along_b = (_sorted(unit.T @ rows.T) for rows in (a, b))
        found.append((along_a - along_b).abs_().mean())
    return torch.stack(found)


def _sorted(lines: Tensor) -> Tensor:
    """Each line (K, R) in order; the memory is used again."""
    if lines.device.type != "cpu":
        return lines.sort(dim=1).values
    # NumPy sorts numbers many times as quickly as torch does on a CPU, one line after the other.
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(np.ndarray.sort, lines.numpy()))
    return lines


def _enlarged(x: Tensor) -> Tensor:
    """Twice the side: values between zeros, filtered."""
    wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    wide[:, :, ::2, ::2] = x
    return 4 * _filtered(wide)


def _filtered(x: Tensor) -> Tensor:
    """By the binomial filter, pictures being mirrored at the middles of their outermost pixels."""
    channels = x.shape[1]
    line = torch.tensor(_FILTER, dtype=x.dtype, device=x.device) / sum(_FILTER)
    kernel = (line[:, None] * line).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def _measure(evidence: Evidence) -> Measured:
    real, samples = evidence.have("real"), evidence.have("samples")
    count = min(len(real), len(samples))
    real, samples, seed = real[:count], samples[:count], evidence.seed
    found = sliced_wasserstein(real, samples, seed)
    details = {f"of_level_{side}": distance for side, distance in found.of_levels.items()}
    if count >= 2:
        halves = real[: count // 2], real[count // 2 : 2 * (count // 2)]
        details["between_halves_of_data"] = sliced_wasserstein(*halves, seed).mean
    size = count // PARTS
    parts = [slice(k * size, (k + 1) * size) for k in range(PARTS if size else 0)]
    error = error_of_parts([sliced_wasserstein(real[k], samples[k], seed).mean for k in parts])
    return Measured(found.mean, error, details=details)


METRICS = (
    Metric(
        name="sliced_wasserstein",
        definition="1,000 times the sliced Wasserstein distance between normalised 7 x 7 patches, "
        f"{PATCHES} of a picture, of real pictures and as many samples, mean of the levels of a "
        "Laplacian pyramid; the details have each level, and the distance between two halves of "
        "the real pictures, which is what so few pictures of one law have",
        source="Karras et al., 2018, arXiv:1710.10196, section 5; Rabin et al., 2011",
        better="lower",
        lowest=0,
        highest=None,
        smallest_n=2048,
        misses="where in a picture patches lie, and the whole of objects larger than the last "
        "level's patches; copies of real pictures",
        needs=("real", "samples"),
        measure=_measure,
    ),
)
