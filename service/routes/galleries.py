"""Which galleries there are."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from service.dependencies import ServiceDep
from service.gallery_fields import GallerySummary, PathName, summary_of
from service.operations import problems

router = APIRouter(prefix="/v1/galleries", tags=["galleries"])


class GalleryList(BaseModel):
    galleries: list[GallerySummary]


@router.get(
    "", summary="List the galleries", operation_id="list_galleries", responses=problems(501)
)
async def list_galleries(service: ServiceDep) -> GalleryList:
    """Users' own pictures, which `neighbours` can search."""
    found = await service.in_thread(service.galleries.all)
    return GalleryList(galleries=[GallerySummary(**summary_of(each)) for each in found])


@router.get(
    "/{gallery}",
    summary="Describe a gallery",
    operation_id="get_gallery",
    responses=problems(404, 501),
)
async def get_gallery(name: PathName, service: ServiceDep) -> GallerySummary:
    """How many pictures it has, and of which shape."""
    found = await service.in_thread(lambda: service.galleries.get(name))
    return GallerySummary(**summary_of(found))
