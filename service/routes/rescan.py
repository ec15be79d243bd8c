"""Look for new bundles."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from pydantic import BaseModel

from service.dependencies import ServiceDep
from service.operations import problems

router = APIRouter(tags=["models"])


class Rescanned(BaseModel):
    added: list[str]
    changed: list[str]
    removed: list[str]
    refused: list[str]


@router.post(
    "/v1/models/rescan",
    summary="Look for new, changed and removed bundles",
    operation_id="rescan",
    responses=problems(409),
)
async def rescan(service: ServiceDep) -> Rescanned:
    """Requests that are under way finish on the model they began with."""
    changes = await asyncio.to_thread(service.catalog.scan)
    return Rescanned.model_validate(vars(changes))
