"""Take a picture out of a gallery."""

from __future__ import annotations

from fastapi import APIRouter

from service.dependencies import ServiceDep
from service.gallery_fields import GallerySummary, PathId, PathName, summary_of
from service.operations import problems

router = APIRouter(tags=["galleries"])


@router.delete(
    "/v1/galleries/{gallery}/items/{id}",
    summary="Take a picture out of a gallery",
    operation_id="delete_gallery_item",
    responses=problems(404, 501),
)
async def delete_item(name: PathName, item: PathId, service: ServiceDep) -> GallerySummary:
    """The gallery as it is without it."""
    now = await service.in_thread(lambda: service.galleries.delete_item(name, item))
    return GallerySummary(**summary_of(now))
