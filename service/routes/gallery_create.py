"""Make a gallery."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from models.errors import InvalidInput
from service.dependencies import ServiceDep, body_of
from service.fields import Strict
from service.gallery_fields import GalleryName, GallerySummary, summary_of
from service.operations import problems

router = APIRouter(tags=["galleries"])

Side = Annotated[int, Field(ge=1, le=4096)]


class GalleryRequest(Strict):
    name: GalleryName
    shape: Annotated[list[Side], Field(min_length=3, max_length=3)] = Field(
        description="Channels (1 or 3), height and width: those of a model that shall search it."
    )


@router.post(
    "/v1/galleries",
    status_code=201,
    summary="Make a gallery",
    operation_id="create_gallery",
    responses=problems(400, 409, 415, 422, 501),
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": GalleryRequest.model_json_schema()}}
        }
    },
)
async def create_gallery(
    body: Annotated[GalleryRequest, body_of(GalleryRequest)], service: ServiceDep
) -> GallerySummary:
    """It is empty; it stays until it is deleted, also when the service ends."""
    channels, height, width = body.shape
    if channels not in (1, 3):
        raise InvalidInput("pictures have 1 channel or 3", "shape[0]")
    if math.prod(body.shape) > service.settings.limits.pixels:
        raise InvalidInput("a picture of that shape has more pixels than a request may", "shape")
    made = await service.in_thread(
        lambda: service.galleries.create(body.name, (channels, height, width))
    )
    return GallerySummary(**summary_of(made))
