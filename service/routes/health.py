"""Whether the process runs, and whether it can answer."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from service.dependencies import ServiceDep

router = APIRouter(tags=["service"])


class Health(BaseModel):
    status: Literal["ok", "unavailable"]
    models: int = Field(description="That can be asked for something, loaded or not.")
    waiting_rows: int


@router.get("/livez", summary="Is the process alive?", operation_id="livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Can it answer?",
    operation_id="readyz",
    responses={503: {"model": Health}},
)
async def readyz(service: ServiceDep, response: Response) -> Health:
    """503 before what is loaded beforehand is loaded, while a model hangs, and when it stops."""
    is_ready = service.engine.is_open and service.catalog.is_ready
    if not is_ready:
        response.status_code = 503
    return Health(
        status="ok" if is_ready else "unavailable",
        models=sum(each.status != "refused" for each in service.catalog.entries().values()),
        waiting_rows=service.engine.waiting_rows,
    )
