"""Delete a gallery."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from service.dependencies import ServiceDep
from service.gallery_fields import PathName
from service.operations import problems

router = APIRouter(tags=["galleries"])


class Deleted(BaseModel):
    deleted: str


@router.delete(
    "/v1/galleries/{gallery}",
    summary="Delete a gallery",
    operation_id="delete_gallery",
    responses=problems(404, 501),
)
async def delete_gallery(name: PathName, service: ServiceDep) -> Deleted:
    """With all that is in it, for good."""
    await service.in_thread(lambda: service.galleries.delete(name))
    return Deleted(deleted=name)
