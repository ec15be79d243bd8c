"""Look for new bundles."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.dependencies import ServiceDep
from service.operations import problems

router = APIRouter(tags=["models"])


class Rescanned(BaseModel):
    added: list[str]
    changed: list[str]
    removed: list[str]
    refused: dict[str, str] = Field(
        description="What cannot be served, or whose new version cannot, and why."
    )


@router.post(
    "/v1/models/rescan",
    summary="Look for new, changed and removed bundles",
    operation_id="rescan",
    responses=problems(409),
)
async def rescan(service: ServiceDep) -> Rescanned:
    """Loaded models are swapped for their new versions; requests that are under way finish on the
    version they began with. Where a new version cannot be loaded the old one is served on."""
    changes = await service.catalog.rescan()
    await service.siblings.ask("rescan")
    return Rescanned.model_validate(vars(changes))
