"""Drawing pictures from the prior, which `sample` and `generate` have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from starlette.responses import Response
from torch import Tensor

from models.capabilities import Latent, RejectionSampler, Stepwise
from models.errors import InvalidInput
from service.answers import NUMBERS, PICTURES, Pictures, picture_response
from service.calls import Call, drawn_seed, row_keys
from service.catalog import Described
from service.fields import Condition, Drawing
from service.inputs import condition_vector
from service.negotiation import EVENTS, LINES
from service.streams import Drawn, stream_events, stream_lines
from service.work import (
    Outputs,
    Rows,
    Sample,
    SampleByRejection,
    SampleChains,
    Work,
    option_rows,
)

# Fields that are told elsewhere, or have no bearing on the pictures.
WITHOUT_BEARING = {"n", "seed", "first_row", "return_latents", "preview_every"}
PLAIN = {"n", "seed", "first_row", "condition"}  # fields that can be given to every model
PREVIEWS = 10  # of a chain, unless the caller says how often


def drawing_formats(model: Described) -> tuple[str, ...]:
    """The formats in which drawn pictures can go out, the default first."""
    whole = PICTURES if model.has_pictures else NUMBERS
    return (*whole, LINES, EVENTS) if model.offers(Stepwise) else (*whole, LINES)


async def draw_pictures(call: Call, body: Drawing, condition: Condition | None) -> Response:
    """Pictures of rows of noise under one condition."""
    if call.format == LINES:
        _check_stream(call, body)
    else:
        call.check_rows(body.n, "n")
    drawing = _drawing(call, body, condition)
    if call.format == LINES:
        return await stream_lines(call, drawing.seed, drawing.piece, body.n)
    work, rows, show = drawing.piece(0, body.n)
    if call.format == EVENTS and isinstance(work, SampleChains):
        every = body.preview_every or math.ceil(work.chain_steps / PREVIEWS)
        return await stream_events(call, drawing.seed, (work, rows, show), every)
    response: Response = await call.run(
        work, rows, lambda outputs: picture_response(call, show(outputs))
    )
    return response


@dataclass(frozen=True)
class PictureDrawing:
    """What is drawn: it can be had in pieces.

    Args:
        y: the condition, (1, width).
        parameters: what else must be known to draw the pictures again.
    """

    call: Call
    body: Drawing
    work: Work
    seed: int
    y: Tensor | None
    parameters: dict[str, Any]

    def piece(self, start: int, stop: int) -> Drawn:
        """The work for some of the rows, and what shows what comes of it."""
        first, count = self.body.first_row + start, stop - start
        tensors: dict[str, Tensor] = {}
        if self.y is not None:
            tensors["y"] = self.y.expand(count, -1)
        if isinstance(self.work, Sample) and self.work.is_tempered:
            temperature = 1.0 if self.body.temperature is None else self.body.temperature
            truncation = self.body.truncation or math.inf
            tensors["temperature"] = torch.full((count,), temperature)
            tensors["truncation"] = torch.full((count,), truncation, dtype=torch.float64)
        if self.body.rejection is not None:
            tensors["percentile"] = torch.full((count,), self.body.rejection)
        tensors |= option_rows(self.body.options or {}, count)
        rows = Rows(count, tensors, row_keys(self.seed, first, count))
        return self.work, rows, lambda outputs: self._show(outputs, first)

    def _show(self, outputs: Outputs, first: int) -> Pictures:
        x = outputs["x"]
        rows = range(first, first + len(x))
        return Pictures(x, self.seed, rows, outputs.get("z"), parameters=self.parameters)


def _drawing(call: Call, body: Drawing, condition: Condition | None) -> PictureDrawing:
    served, y = call.served, condition_vector(call, condition)
    given = body.model_fields_set
    if not given <= PLAIN:
        _check_fields(call, body)
    work: Work
    if body.rejection is not None:
        work = SampleByRejection(
            # Of samples above the percentile about half are kept.
            expected_tries=2 / (1 - body.rejection / 100),
            with_latents=body.return_latents,
            as_levels=call.shows_levels,
        )
    elif served.offers(Stepwise) and not _is_about_latents(body):
        stepwise = served.offering(Stepwise)
        work = SampleChains.of(stepwise, body.steps, body.options, call.shows_levels)
    else:
        work = Sample(
            is_tempered=body.temperature is not None or body.truncation is not None,
            with_latents=body.return_latents,
            as_levels=call.shows_levels,
        )
    bearing = given - WITHOUT_BEARING
    parameters = body.model_dump(exclude_none=True, include=bearing) if bearing else {}
    return PictureDrawing(call, body, work, drawn_seed(body.seed), y, parameters)


def _is_about_latents(body: Drawing) -> bool:
    tempers = body.temperature is not None or body.truncation is not None
    return tempers or body.return_latents


def _check_fields(call: Call, body: Drawing) -> None:
    """Raises InvalidInput where a field is given that means nothing to this model."""
    served = call.served
    tempers = {
        "temperature": body.temperature is not None,
        "truncation": body.truncation is not None,
    }
    if not served.offers(Latent):
        message = "this model has no latents, so this does not apply"
        _refuse(message, **tempers, return_latents=body.return_latents)
    elif served.latent_space.prior != "standard_normal":
        _refuse("this model's latents are not normal, so this does not apply", **tempers)
    if not served.offers(RejectionSampler):
        message = "this model has no discriminator that gives probabilities of being real"
        _refuse(message, rejection=body.rejection is not None)
    if body.rejection is not None:
        _refuse("the prior that samples are rejected from is neither cut nor scaled", **tempers)
    check_chains(call, body.steps, body.options)
    in_steps = {"steps": body.steps, "options": body.options, "preview_every": body.preview_every}
    if _is_about_latents(body):
        message = "latents go through the decoder as it is: this does not go with them"
        _refuse(message, **{name: value is not None for name, value in in_steps.items()})
    if call.format != EVENTS:
        message = "previews come with Accept: text/event-stream, of a model that samples in steps"
        _refuse(message, preview_every=body.preview_every is not None)


def check_chains(call: Call, steps: int | None, options: Mapping[str, float] | None) -> None:
    """Raises InvalidInput where steps or options mean nothing to this model."""
    if not call.served.offers(Stepwise):
        message = "this model does not sample in steps"
        _refuse(message, steps=steps is not None, options=options is not None)
        return
    model = call.served.offering(Stepwise)
    if steps is not None and model.steps_share_work and steps != model.default_steps:
        raise InvalidInput(f"this model takes {model.default_steps} steps, and no others", "steps")
    if steps is not None and steps > model.largest_steps:
        raise InvalidInput(f"at most {model.largest_steps} steps are allowed", "steps")
    for name, value in (options or {}).items():
        known = model.options.get(name)
        if known is None:
            there_are = ", ".join(model.options) or "none"
            raise InvalidInput(f"this model's options are: {there_are}", "options")
        if not known.lowest <= value <= known.highest:
            message = f"goes from {known.lowest:g} to {known.highest:g}"
            raise InvalidInput(message, f"options.{name}")


def _check_stream(call: Call, body: Drawing) -> None:
    if body.n > call.limits.stream_rows:
        raise InvalidInput(f"at most {call.limits.stream_rows} are allowed in a stream", "n")
    row_keys(0, body.first_row + body.n - 1, 1)


def _refuse(message: str, **given: bool) -> None:
    for name, is_given in given.items():
        if is_given:
            raise InvalidInput(message, name)
