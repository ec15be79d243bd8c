"""Give a model's memory back."""

from __future__ import annotations

from fastapi import APIRouter

from service.dependencies import ModelName, ServiceDep
from service.operations import problems
from service.summaries import ModelSummary, summary_of

router = APIRouter(tags=["models"])


@router.post(
    "/v1/models/{name}/unload",
    summary="Put a model out of memory",
    operation_id="unload",
    responses=problems(404),
)
async def unload(name: ModelName, service: ServiceDep) -> ModelSummary:
    """It is no longer pinned, and is loaded again when it is asked for something. Requests that are
    under way finish."""
    await service.catalog.unload(name)
    await service.siblings.ask("unload", name=name)
    return ModelSummary(**summary_of(service, service.catalog.entry(name)))
