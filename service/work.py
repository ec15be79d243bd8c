"""What the engine computes: the few things a model does to rows.

Work is a value. Two pieces that are equal may ride in one batch, so a work's own fields are its
static parameters, and what differs from row to row stands in `Rows`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from models.capabilities import (
    AttributeClassifier,
    BinaryCodes,
    Capability,
    Codec,
    Denoiser,
    Density,
    Encoder,
    Evaluator,
    Inpainter,
    Latent,
    RejectionSampler,
    Sampler,
    Stepwise,
    TangentSpace,
    offers,
)
from models.latents import truncate
from models.noise import Key, Law, Noise
from models.steps import Chains, Steps
from service.entropy import reader, writer
from service.pictures import levels_of

OPTION, TERM = "option.", "term."  # before the names of such tensors
TRIES = 64  # of a sample that may be rejected
MANY = 65  # the effort at which the cost of a likelihood is measured a second time


@dataclass(frozen=True)
class Rows:
    """The inputs of some rows: tensors of that many rows, and keys of their noise.

    `names` says what the caller calls each row ("pictures[2]"), for errors. The last `padding` of
    them are repetitions of the last that somebody asked for.
    """

    count: int
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    names: tuple[str, ...] = ()
    padding: int = 0

    def part(self, start: int, stop: int) -> Rows:
        if stop - start == self.count:
            return self
        return Rows(
            stop - start,
            {name: tensor[start:stop] for name, tensor in self.tensors.items()},
            self.keys[start:stop],
            self.names[start:stop],
        )

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        first = parts[0]
        if len(parts) == 1:
            return first
        return cls(
            sum(part.count for part in parts),
            {name: torch.cat([part.tensors[name] for part in parts]) for name in first.tensors},
            tuple(key for part in parts for key in part.keys),
        )

    def padded(self, count: int) -> Rows:
        """As many rows as that: the last one is repeated, so that padding is always valid."""
        missing = count - self.count
        if missing <= 0:
            return self
        tensors = {
            name: torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])
            for name, tensor in self.tensors.items()
        }
        return Rows(count, tensors, self.keys, padding=missing)

    def to(self, device: torch.device) -> Rows:
        if device.type == "cpu" or not self.tensors:
            return self
        tensors = {
            # Pinned memory lets the copy run beside the computation.
            name: tensor.pin_memory().to(device, non_blocking=True)
            for name, tensor in self.tensors.items()
        }
        return Rows(self.count, tensors, self.keys, padding=self.padding)

    def noise(self, device: torch.device) -> Noise:
        """The rows' noise, that of padding included."""
        return PaddedNoise(self.keys, device=device, padding=self.padding)


class PaddedNoise(Noise):
    """Noise whose last row is repeated: drawing for padding would cost as much as for rows."""

    def __init__(
        self,
        keys: Sequence[Key],
        stream: str = "",
        device: torch.device | str = "cpu",
        padding: int = 0,
    ) -> None:
        super().__init__(keys, stream, device)
        self.padding = padding
        self.keys += self.keys[-1:] * padding

    def stream(self, name: str) -> Noise:
        real = self.keys[: len(self.keys) - self.padding]
        return PaddedNoise(real, name, self.device, self.padding)

    def _draw(self, shape: Sequence[int], law: Law) -> Tensor:
        drawn = super()._draw(shape, law)
        if not self.padding:
            return drawn
        return torch.cat([drawn, drawn[-1:].expand(self.padding, *drawn.shape[1:])])


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
        return Outputs({name: each[start:stop] for name, each in self.tensors.items()}, self.facts)

    def to_cpu(self, count: int) -> Outputs:
        """The first `count` rows, on the CPU."""
        return Outputs(
            {name: each[:count].cpu() for name, each in self.tensors.items()}, self.facts
        )

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        first = parts[0]
        if len(parts) == 1:
            return first
        joined = {name: torch.cat([part[name] for part in parts]) for name in first.tensors}
        return Outputs(joined, first.facts)


class Work(ABC):
    """One thing that a model does to rows."""

    name: ClassVar[str]
    needs: ClassVar[Callable[..., Capability]]
    may_be_nan: ClassVar[tuple[str, ...]] = ()
    shape: ClassVar[int | None] = None  # of its batches, where there is no other

    @abstractmethod
    def steps(self, model: Any, rows: Rows, device: torch.device) -> Steps[Outputs]:
        """A batch in steps; `rows` lie on the device."""

    def polish(self, outputs: Outputs) -> Outputs:
        """The last touch, once it is sure that the numbers are finite."""
        return outputs

    @property
    def plan(self) -> Work:
        """The work by whose plan (`service/plans.py`) this one runs: itself, or one that differs
        in nothing that bears on shapes and time."""
        return self

    @property
    def has_one_shape(self) -> bool:
        """Whether what is seen of its plan's work in other batch shapes says nothing about it."""
        return False

    @property
    def steps_measured(self) -> int:
        """Of how many of its steps a plan's `row_seconds` is."""
        return 1

    def row_seconds(self, seconds_of: Callable[[Work], float]) -> float:
        """Expected seconds of a row, from those of the works that were measured."""
        return seconds_of(self.plan)


class Single(Work):
    """Work of one step."""

    def steps(self, model: Any, rows: Rows, device: torch.device) -> Steps[Outputs]:
        yield from ()
        return self.run(model, rows, device)

    @abstractmethod
    def run(self, model: Any, rows: Rows, device: torch.device) -> Outputs:
        """A batch at once."""


class Chained(Work):
    """Work whose rows are chains, which join and leave a batch at every step."""

    @abstractmethod
    def begin(self, model: Any, rows: Rows, device: torch.device) -> Chains:
        """The rows before their first step."""

    @abstractmethod
    def end(self, model: Any, chains: Chains) -> Outputs:
        """What chains have come to, or a preview of it."""

    def steps(self, model: Any, rows: Rows, device: torch.device) -> Steps[Outputs]:
        chains = self.begin(model, rows, device)
        while left := int(chains.left.max()):
            chains = model.advance(chains)
            yield left - 1
        return self.end(model, chains)


class Shown(Work):
    """Work whose pictures may go out as 256 levels, uint8."""

    as_levels: bool

    def polish(self, outputs: Outputs) -> Outputs:
        return levelled(outputs) if self.as_levels else outputs


@dataclass(frozen=True)
class Sample(Shown):
    """Pictures of a model, each row of its own noise.

    Args:
        is_tempered: latents are cut to each row's `truncation`, then times its `temperature`.
        with_latents: also `z`.
        as_levels: pictures as 256 levels, uint8.
    """

    is_tempered: bool = False
    with_latents: bool = False
    as_levels: bool = False

    name = "sample"
    needs = Sampler

    @property
    def plan(self) -> Work:
        return Sample()

    def steps(self, model: Any, rows: Rows, device: torch.device) -> Steps[Outputs]:
        noise, y = rows.noise(device), rows.tensors.get("y")
        if not offers(model, Latent):
            return Outputs({"x": model.sample(noise, y)})
        z = model.draw(noise, y)
        if self.is_tempered:
            z = tempered(z, rows.tensors["temperature"], rows.tensors["truncation"])
        x = yield from model.decoding(z, y)
        return Outputs({"x": x, "z": z} if self.with_latents else {"x": x})


@dataclass(frozen=True)
class SampleByRejection(Shown):
    """Pictures that the model would keep, each row of its own noise. After `TRIES` the row has the
    one that it was most likely to keep.

    Rows have a `percentile` each (`RejectionSampler.acceptance`).

    Args:
        expected_tries: for the work of a row; rows that differ in it ride together.
        with_latents: also `z`.
        as_levels: pictures as 256 levels, uint8.
    """

    expected_tries: float = field(default=1, compare=False)
    with_latents: bool = False
    as_levels: bool = False

    name = "sample"
    needs = RejectionSampler

    @property
    def plan(self) -> Work:
        return SampleByRejection()

    @property
    def has_one_shape(self) -> bool:
        return True  # scores that differ in a bit may keep another sample

    def row_seconds(self, seconds_of: Callable[[Work], float]) -> float:
        return seconds_of(self.plan) * self.expected_tries / TRIES

    def steps(self, model: Any, rows: Rows, device: torch.device) -> Steps[Outputs]:
        noise, y = rows.noise(device), rows.tensors.get("y")
        percentile = rows.tensors["percentile"]
        best: dict[str, Tensor] = {}
        highest = torch.full_like(percentile, -1.0)
        kept = torch.zeros_like(percentile, dtype=torch.bool)
        for left in range(TRIES - 1, -1, -1):
            z = model.draw(noise.stream(f"try {left}"), y)
            x = yield from model.decoding(z, y)
            chance = model.acceptance(x, percentile, y).to(percentile)
            is_kept = noise.stream(f"keep {left}").uniform().to(percentile) < chance
            # Once kept, a row stays; until then it has the likeliest one so far.
            changes = ~kept & (is_kept | (chance > highest))
            for name, now in {"x": x, "z": z}.items():
                wide = changes.reshape(-1, *[1] * (now.dim() - 1))
                best[name] = torch.where(wide, now, best.get(name, now))
            highest = torch.where(changes, chance, highest)
            kept = kept | is_kept
            if bool(kept.all()):
                break
            yield left
        return Outputs(best if self.with_latents else {"x": best["x"]})


@dataclass(frozen=True)
class SampleChains(Chained, Shown):
    """Pictures of a stepwise model. Rows may have a number of each of its options.

    Args:
        chain_steps: how many; how many each has taken differs from row to row.
        share_work: see `Stepwise.steps_share_work`.
        in_all: with those that an option has taken again; chains that differ in it ride together.
    """

    chain_steps: int
    as_levels: bool = False
    share_work: bool = False
    in_all: int | None = field(default=None, compare=False)

    name = "sample"
    needs = Stepwise

    @classmethod
    def of(
        cls,
        model: Stepwise,
        steps: int | None = None,
        options: Mapping[str, float] | None = None,
        as_levels: bool = False,
    ) -> Self:
        """So many steps of this model, or as many as it takes by default."""
        steps = steps or model.default_steps
        in_all = model.steps_in_all(steps, options or {})
        return cls(steps, as_levels, model.steps_share_work, in_all)

    @property
    def plan(self) -> Work:
        return type(self)(1, share_work=self.share_work)

    @property
    def steps_measured(self) -> int:
        return self.chain_steps if self.share_work else 1

    def begin(self, model: Stepwise, rows: Rows, device: torch.device) -> Chains:
        y, options = rows.tensors.get("y"), _options(rows)
        return model.begin(rows.noise(device), y, self.chain_steps, options)

    def end(self, model: Stepwise, chains: Chains) -> Outputs:
        return Outputs({"x": model.finish(chains)})

    def row_seconds(self, seconds_of: Callable[[Work], float]) -> float:
        return seconds_of(self.plan) * (1 if self.share_work else self.in_all or self.chain_steps)


@dataclass(frozen=True)
class Inpaint(SampleChains):
    """Pictures `x` of which only a part is `known`, filled."""

    name = "inpaint"
    needs = Inpainter  # type: ignore[assignment]

    def begin(self, model: Any, rows: Rows, device: torch.device) -> Chains:
        x, known = rows.tensors["x"], rows.tensors["known"]
        y, options = rows.tensors.get("y"), _options(rows)
        noise = rows.noise(device)
        chains: Chains = model.begin_inpainting(x, known, noise, y, self.chain_steps, options)
        return chains


@dataclass(frozen=True)
class FirstSteps(Single):
    """The first of many steps of chains, to see what they cost and whether batch shapes agree: the
    outputs are all numbers that the chains keep by then."""

    of: SampleChains
    count: int

    name = "first steps"
    needs = Stepwise

    @property
    def plan(self) -> Work:
        return self.of.plan

    def run(self, model: Stepwise, rows: Rows, device: torch.device) -> Outputs:
        chains = self.of.begin(model, rows, device)
        for _ in range(self.count):
            chains = model.advance(chains)
        kept = {name: each for name, each in chains.tensors.items() if each.is_floating_point()}
        return Outputs(kept)


def option_rows(options: Mapping[str, float], count: int) -> dict[str, Tensor]:
    """Options of a stepwise model as tensors of rows."""
    return {
        OPTION + name: torch.full((count,), value, dtype=torch.float64)
        for name, value in options.items()
    }


def _options(rows: Rows) -> dict[str, float]:
    """Those of a part, whose rows have the same."""
    return {
        name.removeprefix(OPTION): float(tensor[0])
        for name, tensor in rows.tensors.items()
        if name.startswith(OPTION)
    }


@dataclass(frozen=True)
class Draw(Single):
    """Latents from the prior (of conditions `y`, where it knows of any)."""

    name = "draw"
    needs = Latent

    def run(self, model: Latent, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"z": model.draw(rows.noise(device), rows.tensors.get("y"))})


@dataclass(frozen=True)
class Decode(Shown):
    """Latents `z` (and conditions `y`) to pictures `x`."""

    as_levels: bool = False

    name = "decode"
    needs = Latent

    @property
    def plan(self) -> Work:
        return Decode()

    def steps(self, model: Latent, rows: Rows, device: torch.device) -> Steps[Outputs]:
        x = yield from model.decoding(rows.tensors["z"], rows.tensors.get("y"))
        return Outputs({"x": x})


@dataclass(frozen=True)
class Encode(Work):
    """Pictures `x` (and conditions `y`) to posteriors."""

    name = "encode"
    needs = Encoder

    def steps(self, model: Encoder, rows: Rows, device: torch.device) -> Steps[Outputs]:
        posterior = yield from model.encoding(rows.tensors["x"], rows.tensors.get("y"))
        found = {name: value for name, value in vars(posterior).items() if value is not None}
        return Outputs(found, {"inference": model.inference})


@dataclass(frozen=True)
class Classify(Single):
    """Pictures `x` to predicted conditions `y`.

    Args:
        picture_shape: as `Seen` has it.
    """

    picture_shape: tuple[int, ...] | None = None

    name = "classify"
    needs = AttributeClassifier

    def run(self, model: AttributeClassifier, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"y": model.classify(rows.tensors["x"])})


@dataclass(frozen=True)
class Seen(Single):
    """What an evaluator says of pictures `x`.

    Args:
        picture_shape: of the pictures, where they are of another than the evaluator's own: nothing
            is known of batches of them, so that they run in one shape.
    """

    picture_shape: tuple[int, ...] | None = None

    needs = Evaluator


@dataclass(frozen=True)
class Features(Seen):
    """Pictures `x` to features."""

    name = "features"

    def run(self, model: Evaluator, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"features": model.features(rows.tensors["x"])})


@dataclass(frozen=True)
class Probabilities(Seen):
    """Pictures `x` to the probabilities of classes."""

    name = "probabilities"

    def run(self, model: Evaluator, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"probabilities": model.class_probabilities(rows.tensors["x"])})


@dataclass(frozen=True)
class Denoise(Single, Shown):
    """Corrupted pictures `x` (and conditions `y`) to clean ones."""

    as_levels: bool = False

    name = "denoise"
    needs = Denoiser

    @property
    def plan(self) -> Work:
        return Denoise()

    def run(self, model: Denoiser, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"x": model.denoise(rows.tensors["x"], rows.tensors.get("y"))})


@dataclass(frozen=True)
class Tangents(Single):
    """Pictures `x` to the `count` directions in which they can go."""

    count: int

    name = "tangents"
    needs = TangentSpace

    @property
    def plan(self) -> Work:
        return Tangents(1)

    @property
    def has_one_shape(self) -> bool:
        return True  # decompositions of other sizes say nothing of this one

    def run(self, model: TangentSpace, rows: Rows, device: torch.device) -> Outputs:
        directions, lengths = model.tangents(rows.tensors["x"], self.count)
        return Outputs({"tangents": directions, "singular_values": lengths})


@dataclass(frozen=True)
class Hash(Single):
    """Pictures `x` to binary codes, bool (B, bits)."""

    name = "hash"
    needs = BinaryCodes

    def run(self, model: BinaryCodes, rows: Rows, device: torch.device) -> Outputs:
        return Outputs({"bits": model.binary_codes(rows.tensors["x"])})


@dataclass(frozen=True)
class LogProb(Work):
    """Pictures `x` (and conditions `y`) to log-likelihoods.

    Args:
        method: one of `Density.methods`, or none of them.
    """

    effort: int
    method: str = ""

    name = "likelihood"
    needs = Density
    may_be_nan = ("standard_error",)

    @property
    def plan(self) -> Work:
        return LogProb(1 if self.effort == 1 else MANY, self.method)

    @property
    def has_one_shape(self) -> bool:
        return self.effort > 1  # samples of a row ride in one batch, and their number varies

    def steps(self, model: Density, rows: Rows, device: torch.device) -> Steps[Outputs]:
        x, noise, y = rows.tensors["x"], rows.noise(device), rows.tensors.get("y")
        if self.method:
            found = yield from model.scoring_by(self.method, x, noise, self.effort, y)
        else:
            found = yield from model.scoring(x, noise, self.effort, y)
        terms = {TERM + name: value for name, value in found.terms.items()}
        return Outputs(
            {"nats": found.nats, "standard_error": found.standard_error, **terms},
            {"kind": found.kind, "measure": found.measure},
        )

    def row_seconds(self, seconds_of: Callable[[Work], float]) -> float:
        one, many = seconds_of(LogProb(1, self.method)), seconds_of(LogProb(MANY, self.method))
        return one + (self.effort - 1) * max(many - one, 0.0) / (MANY - 1)


@dataclass(frozen=True)
class Coding(Work):
    """Work of all pictures of a request in one row: streams of their own would each waste their
    last bits."""

    count: int

    needs = Codec
    shape = 1

    @property
    def plan(self) -> Work:
        return Compress(1)  # decompression is the same computation

    @property
    def has_one_shape(self) -> bool:
        return True

    def row_seconds(self, seconds_of: Callable[[Work], float]) -> float:
        return seconds_of(self.plan) * self.count


@dataclass(frozen=True)
class Compress(Coding):
    """Pictures `x`, (1, count, C, H, W), to one stream of bytes."""

    name = "compress"

    def steps(self, model: Codec, rows: Rows, device: torch.device) -> Steps[Outputs]:
        coder = writer(model.coder)
        y = rows.tensors.get("y")
        x = rows.tensors["x"][0]
        yield from model.compressing(x, coder, None if y is None else y.expand(len(x), -1))
        content = np.frombuffer(coder.to_bytes(), np.uint8).copy()
        return Outputs({"stream": torch.from_numpy(content)[None]})


@dataclass(frozen=True)
class Decompress(Coding):
    """A `stream` of bytes, (1, L), to the pictures that it was made of, (1, count, C, H, W)."""

    name = "decompress"

    def steps(self, model: Codec, rows: Rows, device: torch.device) -> Steps[Outputs]:
        coder = reader(model.coder, rows.tensors["stream"][0].cpu().numpy().tobytes())
        y = rows.tensors.get("y")
        condition = None if y is None else y.expand(self.count, -1)
        x = yield from model.decompressing(self.count, coder, condition)
        return Outputs({"x": x[None]})


def tempered(z: Tensor, temperature: Tensor, truncation: Tensor) -> Tensor:
    """Latents, each cut to its own truncation (infinity for none), then times its temperature.

    Args:
        z: (B, *latent shape).
        temperature, truncation: (B,).
    """
    cut = [
        row if math.isinf(bound) else truncate(row, bound)
        for row, bound in zip(z, truncation.tolist(), strict=True)
    ]
    return torch.stack(cut) * temperature.reshape(-1, *[1] * (z.dim() - 1))


def levelled(outputs: Outputs) -> Outputs:
    """The same with pictures as 256 levels; points, which have none, stay as they are."""
    x = outputs["x"]
    return (
        Outputs({**outputs.tensors, "x": levels_of(x)}, outputs.facts) if x.dim() == 4 else outputs
    )
