"""Encoding what comes in, which `encode`, `reconstruct` and `edit` have in common."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from service.calls import Call
from service.fields import Inputs
from service.inputs import attributes_of, names_of_attributes, names_of_inputs, pictures_of
from service.work import Encode, Outputs, Rows


@dataclass(frozen=True)
class Encoded:
    """Rows that came in, (B, C, H, W) or (B, D), their attributes (B, width), their posterior."""

    x: Tensor
    y: Tensor | None
    posterior: Outputs


async def encode_inputs(call: Call, body: Inputs) -> Encoded:
    """The latents of what comes in, with what is known of it, or predicted."""
    x = await pictures_of(call, body)
    y = await attributes_of(call, x, body.attributes, names_of_attributes(body, len(x)))
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    rows = Rows(len(x), tensors, names=names_of_inputs(body))
    return Encoded(x, y, await call.run(Encode(), rows))
