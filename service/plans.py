"""How a model's work runs on this device: in which batch shapes, and at which cost.

Found when a model is loaded, by running it. Kernels round differently by batch size, so in strict
mode a row may only be computed in shapes that give it the same bytes. One shape is always right:
the *anchor*, the same in every process. The other shapes that a plan allows are those whose output
was seen to be equal to the anchor's, bit for bit, in every place of the batch, on rows of noise: a
kernel that adds in another order differs in hundreds of these numbers. Where no other shape is
equal, every batch is padded to the anchor.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from models.capabilities import (
    AttributeClassifier,
    BinaryCodes,
    Codec,
    Conditional,
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
)
from models.noise import Noise
from models.steps import Steps, finished
from service.catalog import Served
from service.work import (
    MANY,
    Classify,
    Compress,
    Decode,
    Denoise,
    Draw,
    Encode,
    Features,
    FirstSteps,
    Hash,
    Inpaint,
    LogProb,
    Outputs,
    Probabilities,
    Rows,
    Sample,
    SampleByRejection,
    SampleChains,
    Seen,
    Tangents,
    Work,
)

# Beside the anchor, the most useful first, in case that there is no time for all. Dense, so that
# little is padded.
USEFUL_SHAPES = (1, 32, 64, 4, 16, 2, 48, 24, 12, 6, 3, 8)
NUMBERS_TO_COMPARE = 1024  # before two shapes are believed to give equal ones
FEWEST_NUMBERS = 256  # where passes take long
LONGEST_PASS = 0.1  # seconds: no larger shape is tried, as others wait for a pass to end
PROBED_STEPS = 4  # of chains whose steps share out one work
UNKNOWN_SECONDS = 0.01  # of a row of work that was not measured


@dataclass
class Plan:
    """Of one work of one model.

    Args:
        shapes: the batch sizes it may run in, ascending.
        row_seconds: of a step, in the shape that is best for throughput.
    """

    shapes: tuple[int, ...]
    row_seconds: float = UNKNOWN_SECONDS

    @property
    def largest(self) -> int:
        return self.shapes[-1]

    def shape_for(self, rows: int) -> int:
        """The smallest shape that has room for so many rows, or else the largest."""
        return next((shape for shape in self.shapes if shape >= rows), self.largest)

    def within(self, seconds: float) -> Plan:
        """The same in those shapes alone whose batches take no longer, or in the smallest."""
        short = tuple(each for each in self.shapes if each * self.row_seconds <= seconds)
        return Plan(short or self.shapes[:1], self.row_seconds)

    def without(self, shape: int) -> bool:
        """Forget this shape and all larger ones, for which memory does not suffice; whether any
        smaller one is left."""
        left = tuple(each for each in self.shapes if each < shape)
        if left:
            self.shapes = left
        return bool(left)


@dataclass
class Plans:
    """Of one model, by work."""

    anchor: int
    known: dict[Work, Plan] = field(default_factory=dict)

    def plan(self, work: Work) -> Plan:
        return self.known.setdefault(work.plan, Plan((work.shape or self.anchor,)))

    def row_seconds(self, work: Work) -> float:
        """What one row of it costs."""

        def seconds_of(measured: Work) -> float:
            return self.known[measured].row_seconds if measured in self.known else UNKNOWN_SECONDS

        return work.row_seconds(seconds_of)


@dataclass(frozen=True, eq=False)
class WarmUp(Work):
    """Runs everything a model can do once and fills in the plans; a step is one pass.

    Args:
        is_strict: allow only shapes that give the anchor's bytes.
        comparison_seconds: the longest that all shapes of a work may take.
    """

    plans: Plans
    served: Served
    is_strict: bool
    comparison_seconds: float = 0.5

    name = "warm-up"
    needs = object  # type: ignore[assignment]

    def steps(self, model: object, rows: Rows, device: torch.device) -> Steps[Outputs]:
        for work in works_of(self.served):
            yield from self._measure(work, model, device)
        return Outputs({})

    def _measure(self, work: Work, model: object, device: torch.device) -> Steps[None]:
        anchor, probe, share = work.shape or self.plans.anchor, work, 1.0
        rows = noise_rows(self.served, work, anchor)
        first, seconds = yield from self._pass(self._cheap(work), model, rows, device)
        if isinstance(work, SampleChains) and work.share_work:
            steps = self.served.offering(Stepwise).default_steps
            if seconds * steps / PROBED_STEPS > LONGEST_PASS:
                probe, share = self._cheap(work), PROBED_STEPS / steps
            else:
                first, seconds = yield from self._pass(work, model, rows, device)
        plan = self.plans.known[work] = Plan((anchor,), seconds / share / anchor)
        if first is None or work.has_one_shape:
            return  # what it comes to is not waited for, or says nothing about other shapes
        pass_seconds = share * plan.row_seconds  # of a row
        rows_needed = _rows_of(first, NUMBERS_TO_COMPARE)
        if rows_needed * pass_seconds > self.comparison_seconds:
            rows_needed = _rows_of(first, FEWEST_NUMBERS)
        if rows_needed * pass_seconds > self.comparison_seconds:
            return  # too slow to see whether other shapes agree
        shapes = [each for each in USEFUL_SHAPES if each * pass_seconds <= LONGEST_PASS]
        count = anchor * math.ceil(max(*shapes, anchor, rows_needed) / anchor)
        rows = noise_rows(self.served, work, count)
        began = time.perf_counter()
        wanted, _ = yield from self._passes(probe, model, rows, anchor, device)
        for shape in (each for each in shapes if each != anchor):
            if time.perf_counter() - began > self.comparison_seconds:
                return
            part = rows.part(0, shape * math.ceil(min(rows_needed, count - shape + 1) / shape))
            found, seconds = yield from self._passes(probe, model, part, shape, device)
            if not self.is_strict or _agree(wanted, found):
                plan.shapes = tuple(sorted((*plan.shapes, shape)))
                plan.row_seconds = min(plan.row_seconds, seconds / share / shape)

    def _cheap(self, work: Work) -> Work:
        """The first steps only, where all steps are known to share out one long work."""
        if isinstance(work, SampleChains) and work.share_work:
            steps = self.served.offering(Stepwise).default_steps
            return FirstSteps(replace(work, chain_steps=steps), PROBED_STEPS)
        return work

    def _passes(
        self, work: Work, model: object, rows: Rows, shape: int, device: torch.device
    ) -> Steps[tuple[Outputs, float]]:
        """What the rows come to in passes of this shape, and the seconds of the quickest."""
        parts, fastest = [], math.inf
        for start in range(0, rows.count - shape + 1, shape):
            part = rows.part(start, start + shape)
            outputs, seconds = yield from self._pass(work, model, part, device)
            if outputs is not None:
                parts.append(outputs)
            fastest = min(fastest, seconds)
        return Outputs.joined(parts), fastest

    def _pass(
        self, work: Work, model: object, rows: Rows, device: torch.device
    ) -> Steps[tuple[Outputs | None, float]]:
        """What a batch comes to, and its seconds; of a work of many steps None, and what all of
        them will take. Done twice: the first time pays for what is set up once."""
        rows, outputs, seconds = rows.to(device), None, math.inf
        for _ in range(2):
            began, left = time.perf_counter(), 0
            steps = work.steps(model, rows, device)
            try:
                left = next(steps)
                if left == 0:
                    outputs = finished(steps)
            except StopIteration as end:
                outputs = end.value
            _wait_for(device)
            seconds = min(seconds, (time.perf_counter() - began) * (left + 1))
            yield 1
            if work.plan in self.plans.known:
                break  # all is set up
        return None if outputs is None else outputs.to_cpu(rows.count), seconds


def _rows_of(outputs: Outputs, numbers: int) -> int:
    """How many rows have so many numbers: too many to be equal by chance."""
    each = [tensor[0].numel() for tensor in outputs.tensors.values()]
    return math.ceil(numbers / min(each))


def works_of(served: Served) -> Iterator[Work]:
    """Everything that a model can be asked for, in the form that plans are made of."""
    if served.offers(Stepwise):
        yield SampleChains.of(served.offering(Stepwise)).plan
    if served.offers(Latent) or (served.offers(Sampler) and not served.offers(Stepwise)):
        yield Sample()
    if served.offers(Latent):
        yield from (Draw(), Decode())
    if served.offers(RejectionSampler):
        yield SampleByRejection()
    if served.offers(Encoder):
        yield Encode()
    if served.offers(AttributeClassifier):
        yield Classify()
    if served.offers(Evaluator):
        yield Features()
        if served.offering(Evaluator).has_classes:
            yield Probabilities()
    if served.offers(Denoiser):
        yield Denoise()
    if served.offers(TangentSpace):
        yield Tangents(1)
    if served.offers(BinaryCodes):
        yield Hash()
    if served.offers(Density):
        density = served.offering(Density)
        for method in ("", *density.methods):
            yield LogProb(1, method)
            if density.maximum_effort >= MANY:
                yield LogProb(MANY, method)
    if served.offers(Inpainter):
        yield Inpaint.of(served.offering(Stepwise)).plan
    if served.offers(Codec):
        yield Compress(1)


def noise_rows(served: Served, work: Work, count: int) -> Rows:
    """Valid inputs of a work, of noise."""
    noise = Noise.of_rows(seed=0, count=count).stream("warm-up")
    tensors: dict[str, Tensor] = {}
    if isinstance(work, Decode):
        tensors["z"] = served.offering(Latent).draw(noise).cpu()
    drawn = Sample | SampleByRejection | Draw | Decode | SampleChains
    if not isinstance(work, drawn) or isinstance(work, Inpaint):
        tensors["x"] = _noise_data(served, noise)
    if isinstance(work, SampleByRejection):
        tensors["percentile"] = torch.full((count,), 50.0)
    if isinstance(work, Inpaint):
        tensors["known"] = tensors["x"] > 0.5
    if isinstance(work, Compress):
        tensors["x"] = tensors["x"][:, None]
    unconditional = Classify | Seen | Tangents | Hash
    if served.offers(Conditional) and not isinstance(work, unconditional):
        y = served.schema.encode({})
        tensors["y"] = torch.tensor([y] * count, dtype=torch.float32)
    return Rows(count, tensors, noise.keys)


def _noise_data(served: Served, noise: Noise) -> Tensor:
    """Rows that the model gives probabilities to."""
    if served.has_pictures:
        return noise.uniform(served.shape).round()  # black and white, which every model takes
    if served.offers(Sampler) and not served.offers(Conditional):
        return served.offering(Sampler).sample(noise).cpu()  # some know only where data were
    return noise.normal(served.shape)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _agree(wanted: Outputs, found: Outputs) -> bool:
    """Whether the rows that both have are equal to the last bit."""
    return all(
        torch.equal(_bits(tensor[: len(found[name])]), _bits(found[name][: len(tensor)]))
        for name, tensor in wanted.tensors.items()
    )


def _bits(tensor: Tensor) -> Tensor:
    """The bytes, so that NaN equals NaN and 0 is not -0."""
    return tensor.contiguous().view(torch.uint8)
