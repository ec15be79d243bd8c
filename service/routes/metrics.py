"""Numbers for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.dependencies import ServiceDep
from service.telemetry import merged

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    operation_id="metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
async def metrics(service: ServiceDep) -> Response:
    """Of all processes on the port together."""
    texts = [service.telemetry.text(), *await service.siblings.ask("metrics")]
    return Response(merged(texts), headers={"Content-Type": CONTENT_TYPE_LATEST})
