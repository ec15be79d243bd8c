"""Pictures out of what `compress` made of them."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

import torch
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from models.capabilities import Codec
from models.errors import InvalidInput
from service.answers import Pictures, PicturesAnswer, picture_formats, picture_response
from service.calls import Call
from service.compressed import Compressed, checksum_of
from service.dependencies import body_of, call_of
from service.fields import Strict
from service.inputs import condition_vector
from service.operations import Operation
from service.work import Decompress, Outputs, Rows


class DecompressRequest(Strict):
    stream: Annotated[str, Field(min_length=1, description="In base64, or a file in multipart.")]


operation = Operation(
    name="decompress",
    summary="Take compressed pictures apart again",
    needs=(Codec,),
    request=DecompressRequest,
    answer=PicturesAnswer,
    formats=picture_formats,
    example={"stream": "<base64>"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def decompress(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[DecompressRequest, body_of(DecompressRequest)],
) -> Response:
    """The pictures, equal to those compressed to the last level, or an error: a stream of another
    bundle, or one whose checksum does not fit, is refused."""
    stream = Compressed.from_bytes(_content(body.stream), "stream")
    if stream.digest != call.served.digest:
        raise InvalidInput(
            f"was made by the bundle {stream.digest}; this model is {call.served.digest}", "stream"
        )
    call.check_rows(stream.count, "stream")
    content = torch.frombuffer(bytearray(stream.content), dtype=torch.uint8)[None]
    tensors = {"stream": content}
    if (y := condition_vector(call, stream.condition, "stream")) is not None:
        tensors["y"] = y

    def show(outputs: Outputs) -> Response:
        x = outputs["x"][0]
        if checksum_of(x) != stream.checksum:
            raise InvalidInput(
                "is damaged, or was made on a machine that rounds otherwise: what it holds does "
                "not fit its checksum",
                "stream",
            )
        return picture_response(call, Pictures(x))

    rows = Rows(1, tensors, names=("stream",))
    response: Response = await call.run(Decompress(stream.count), rows, encode=show)
    return response


def _content(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("expected a stream in base64", "stream") from error
