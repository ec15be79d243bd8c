"""Whether pictures look like those that the model was trained on."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from metrics.anomaly import p_values
from models.capabilities import Density
from models.conditions import Value
from models.errors import InvalidInput
from service.answers import Answer, answer_numbers, named, number_formats
from service.calls import Call, row_keys
from service.dependencies import body_of, call_of
from service.fields import Inputs
from service.inputs import (
    attributes_of,
    check_one_of,
    names_of_attributes,
    names_of_inputs,
    pictures_of,
)
from service.operations import Operation
from service.reference_scores import nats_of_files, reference_nats, reference_nats_of_files
from service.work import LogProb, Rows

Score = Literal["likelihood", "typicality", "complexity"]


class AnomalyRequest(Inputs):
    score: Score = Field(
        default="typicality",
        description="likelihood: nats, where low is odd; typicality: distance of nats from the "
        "reference's mean, where both sides are; complexity: nats less those of a lossless "
        "picture format, which is just to simple pictures.",
    )


class RowAnomaly(BaseModel):
    row: int
    p_value: float = Field(description="Share of reference pictures that are at least as odd.")
    score: float = Field(description="The larger, the less odd.")
    nats: float
    attributes: dict[str, Value] | None = None


class AnomalyAnswer(Answer):
    score: Score
    reference_pictures: int
    anomalies: list[RowAnomaly]


operation = Operation(
    name="anomaly",
    summary="Tell how odd pictures are",
    needs=(Density,),
    request=AnomalyRequest,
    answer=AnomalyAnswer,
    formats=number_formats,
    example={"pictures": ["<base64>"], "fit": "resize"},
)
router = APIRouter()


@router.post(operation.path, **operation.described)
async def anomaly(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[AnomalyRequest, body_of(AnomalyRequest)],
) -> Response:
    """A p-value of each picture's score among those of the bundle's held-out pictures.

    A high likelihood alone says little: flows and autoregressive models give more of it to simple
    pictures than to their own (Nalisnick et al., 2019, arXiv:1810.09136). Typicality (the same
    authors, arXiv:1906.02994) counts a likelihood that is too high as odd too; the complexity
    score (Serra et al., 2020, arXiv:1909.11480) takes off what any compressor finds.

    The first such question to a model takes longer: its reference has to be scored.
    """
    count = check_one_of(body)
    if body.score == "complexity" and not call.served.has_pictures:
        raise InvalidInput("points have no lossless picture format", "score")
    x = await pictures_of(call, body)
    y = await attributes_of(call, x, body.attributes, names_of_attributes(body, count))
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    # Noise of its own, so that the same picture has the same score always.
    rows = Rows(count, tensors, row_keys(0, 0, count), names_of_inputs(body))
    found = await call.run(LogProb(1), rows)
    own, others = found["nats"].double(), await reference_nats(call)
    if body.score == "complexity":
        own = own + await nats_of_files(call, x)
        others = others + await reference_nats_of_files(call)
    elif body.score == "typicality":
        own, others = -(own - others.mean()).abs(), -(others - others.mean()).abs()
    p = p_values(own, others)
    attributes = named(call, y) or [{}] * count
    each = [
        {"p_value": chance, "score": score, "nats": nats, **more}
        for chance, score, nats, more in zip(
            p.tolist(), own.tolist(), found["nats"].tolist(), attributes, strict=True
        )
    ]
    arrays = {"p_value": p, "score": own, "nats": found["nats"]}
    facts = {"score": body.score, "reference_pictures": len(others)}
    return await answer_numbers(call, None, arrays, "anomalies", each, facts)
