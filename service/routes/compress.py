"""Pictures without loss in fewer bytes."""

from __future__ import annotations

import base64
import math
from typing import Annotated

import orjson
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from models.capabilities import Codec
from models.errors import InvalidInput
from service.answers import Answer, facts_headers
from service.calls import Call, facts_of
from service.catalog import Described
from service.compressed import Compressed, checksum_of
from service.dependencies import body_of, call_of
from service.fields import Condition, Fit, Picture, Strict
from service.inputs import condition_vector, picture_rows
from service.negotiation import JSON, OCTETS
from service.operations import Operation
from service.work import Compress, Rows


class CompressRequest(Strict):
    pictures: Annotated[list[Picture], Field(min_length=1)]
    fit: Fit | None = None
    condition: Condition | None = Field(
        default=None, description="Of all pictures; it goes into the stream."
    )


class CompressAnswer(Answer):
    stream: Annotated[
        str, Field(description="In base64; Accept: application/octet-stream has it as it is.")
    ]
    pictures: int
    bytes: int
    bits_per_dimension: float = Field(description="Of the whole stream, its head included.")


def compress_formats(model: Described) -> tuple[str, ...]:
    return (JSON, OCTETS)


operation = Operation(
    name="compress",
    summary="Compress pictures without loss",
    needs=(Codec,),
    request=CompressRequest,
    answer=CompressAnswer,
    formats=compress_formats,
    example={"pictures": ["<base64>"], "fit": "resize"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def compress(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[CompressRequest, body_of(CompressRequest)],
) -> Response:
    """All pictures of a request make one stream, which only the same bundle (by its digest) takes
    apart again. The more pictures, the less each pays for the stream's head."""
    if not call.served.has_pictures:
        raise InvalidInput("this model is about points; pictures can be compressed", "pictures")
    call.check_rows(len(body.pictures), "pictures")
    x = await call.in_thread(lambda: picture_rows(call, body.pictures, body.fit, "pictures"))
    tensors = {"x": x[None]}
    if (y := condition_vector(call, body.condition)) is not None:
        tensors["y"] = y
    found = await call.run(Compress(len(x)), Rows(1, tensors, names=("pictures",)))
    condition = None if y is None else dict(body.condition or {})
    content = found["stream"][0].numpy().tobytes()
    stream = Compressed(call.served.digest, len(x), checksum_of(x), condition, content).to_bytes()
    facts = facts_of(call, None)
    if call.format == OCTETS:
        return Response(stream, media_type=OCTETS, headers=facts_headers(facts))
    told = {
        **facts,
        "stream": base64.b64encode(stream).decode(),
        "pictures": len(x),
        "bytes": len(stream),
        "bits_per_dimension": 8 * len(stream) / (len(x) * math.prod(call.served.shape)),
    }
    return Response(orjson.dumps(told), media_type=JSON)
