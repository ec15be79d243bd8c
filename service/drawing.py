"""Drawing pictures from the prior, which `sample` and `generate` have in common."""

from __future__ import annotations

from starlette.responses import Response
from torch import Tensor

from models.capabilities import Latent
from models.errors import InvalidInput
from service.answers import Pictures, answer_pictures
from service.calls import Call, drawn_seed, row_keys
from service.fields import Condition, Drawing
from service.inputs import condition_vector
from service.points import draw
from service.work import Rows, Sample


async def draw_pictures(call: Call, body: Drawing, condition: Condition | None) -> Response:
    """Pictures of rows of noise under one condition."""
    call.check_rows(body.n, "n")
    seed = drawn_seed(body.seed)
    keys = row_keys(seed, body.first_row, body.n)
    y = condition_vector(call, condition)
    every_y = None if y is None else y.expand(body.n, -1)
    if call.served.offers(Latent):
        z = await draw(call, keys, body.temperature, body.truncation)
        x = await call.decode(z, every_y)
        latents = z if body.return_latents else None
    else:
        _check_needs_no_latents(body)
        x, latents = await _sample(call, keys, every_y), None
    rows = range(body.first_row, body.first_row + body.n)
    parameters = body.model_dump(
        exclude_none=True, exclude={"n", "seed", "first_row", "return_latents"}
    )
    pictures = Pictures(x, seed, rows, latents, parameters=parameters)
    return await answer_pictures(call, pictures)


async def _sample(call: Call, keys: tuple[tuple[int, int], ...], y: Tensor | None) -> Tensor:
    tensors = {} if y is None else {"y": y}
    return (await call.run(Sample(), Rows(len(keys), tensors, keys)))["x"]


def _check_needs_no_latents(body: Drawing) -> None:
    given = {
        "temperature": body.temperature is not None,
        "truncation": body.truncation is not None,
        "return_latents": body.return_latents,
    }
    for name, is_given in given.items():
        if is_given:
            raise InvalidInput("this model has no latents, so this does not apply", name)
