"""What the engine computes: the few things a model does to rows.

Work is a value. Two pieces that are equal may ride in one pass of a model, so a work's own fields
are its static parameters, and what differs from row to row stands in `Rows`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from models.capabilities import (
    AttributeClassifier,
    Capability,
    Density,
    Encoder,
    Latent,
    Sampler,
)
from models.latents import truncate
from models.noise import Key, Noise


@dataclass(frozen=True)
class Rows:
    """The inputs of some rows: tensors of that many rows, and keys of their noise.

    `names` says what the caller calls each row ("pictures[2]"), for errors.
    """

    count: int
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    names: tuple[str, ...] = ()

    def part(self, start: int, stop: int) -> Rows:
        return Rows(
            stop - start,
            {name: tensor[start:stop] for name, tensor in self.tensors.items()},
            self.keys[start:stop],
            self.names[start:stop],
        )

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        first = parts[0]
        return cls(
            sum(part.count for part in parts),
            {name: torch.cat([part.tensors[name] for part in parts]) for name in first.tensors},
            tuple(key for part in parts for key in part.keys),
        )

    def padded(self, count: int) -> Rows:
        """As many rows as that: the last one is repeated, so that padding is always valid."""
        missing = count - self.count
        if missing == 0:
            return self
        tensors = {
            name: torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])
            for name, tensor in self.tensors.items()
        }
        return Rows(count, tensors, self.keys + self.keys[-1:] * missing)


@dataclass(frozen=True)
class Outputs:
    """What came of some rows: tensors of that many rows, and facts that hold for all of them."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def get(self, name: str) -> Tensor | None:
        return self.tensors.get(name)

    def part(self, start: int, stop: int) -> Outputs:
        # A copy, so that the rest of the pass can be freed.
        tensors = {name: tensor[start:stop].clone() for name, tensor in self.tensors.items()}
        return Outputs(tensors, self.facts)

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        first = parts[0]
        names = first.tensors if len(parts) > 1 else ()
        joined = {name: torch.cat([part[name] for part in parts]) for name in names}
        return Outputs(joined, first.facts) if joined else first


class Work(ABC):
    """One thing that a model does to rows."""

    name: ClassVar[str]
    needs: ClassVar[Callable[..., Capability]]
    may_be_nan: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def run(self, model: Any, rows: Rows, device: torch.device) -> Outputs:
        """One pass; `rows` lie on the device."""


@dataclass(frozen=True)
class Sample(Work):
    """Pictures of a model without latents."""

    name = "sample"
    needs = Sampler

    def run(self, model: Sampler, rows: Rows, device: torch.device) -> Outputs:
        noise = Noise(rows.keys, device=device)
        return Outputs({"x": model.sample(noise, rows.tensors.get("y"))})


@dataclass(frozen=True)
class Draw(Work):
    """Latents from the prior, each cut to its own `truncation`, then times its `temperature`."""

    name = "draw"
    needs = Latent

    def run(self, model: Latent, rows: Rows, device: torch.device) -> Outputs:
        z = model.draw(Noise(rows.keys, device=device))
        bounds = rows.tensors["truncation"].tolist()
        cut = [
            row if math.isinf(bound) else truncate(row, bound)
            for row, bound in zip(z, bounds, strict=True)
        ]
        temperature = rows.tensors["temperature"].reshape(-1, *[1] * (z.dim() - 1))
        return Outputs({"z": torch.stack(cut) * temperature})


@dataclass(frozen=True)
class Decode(Work):
    """Latents `z` (and conditions `y`) to pictures `x`."""

    name = "decode"
    needs = Latent

    def run(self, model: Latent, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"x": model.decode(rows.tensors["z"], rows.tensors.get("y"))})


@dataclass(frozen=True)
class Encode(Work):
    """Pictures `x` (and conditions `y`) to posteriors."""

    name = "encode"
    needs = Encoder

    def run(self, model: Encoder, rows: Rows, device: torch.device) -> Outputs:
        posterior = model.encode(rows.tensors["x"], rows.tensors.get("y"))
        found = {name: value for name, value in vars(posterior).items() if value is not None}
        return Outputs(found, {"inference": model.inference})


@dataclass(frozen=True)
class Classify(Work):
    """Pictures `x` to predicted conditions `y`."""

    name = "classify"
    needs = AttributeClassifier

    def run(self, model: AttributeClassifier, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"y": model.classify(rows.tensors["x"])})


@dataclass(frozen=True)
class LogProb(Work):
    """Pictures `x` (and conditions `y`) to log-likelihoods."""

    effort: int

    name = "likelihood"
    needs = Density
    may_be_nan = ("standard_error",)

    def run(self, model: Density, rows: Rows, device: torch.device) -> Outputs:
        noise = Noise(rows.keys, device=device)
        found = model.log_prob(rows.tensors["x"], noise, self.effort, rows.tensors.get("y"))
        return Outputs(
            {"nats": found.nats, "standard_error": found.standard_error},
            {"kind": found.kind, "measure": found.measure},
        )
