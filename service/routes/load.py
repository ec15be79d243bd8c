"""Load a model before it is asked for something."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from service.dependencies import ModelName, ServiceDep, body_of
from service.fields import Strict
from service.operations import problems
from service.summaries import ModelSummary, summary_of

router = APIRouter(tags=["models"])


class LoadRequest(Strict):
    pin: bool | None = Field(
        default=None,
        description="Whether it is never put out of memory for others; null leaves that as it is.",
    )


@router.post(
    "/v1/models/{name}/load",
    summary="Load a model into memory",
    operation_id="load",
    responses=problems(400, 404, 415, 422, 503),
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": LoadRequest.model_json_schema()}}
        }
    },
)
async def load(
    name: ModelName, body: Annotated[LoadRequest, body_of(LoadRequest)], service: ServiceDep
) -> ModelSummary:
    """Others that are not pinned are put out where there is no room. A model that was refused is
    tried again."""
    await service.catalog.load(name, body.pin)
    await service.siblings.ask("load", name=name, pin=body.pin)
    return ModelSummary(**summary_of(service, service.catalog.entry(name)))
