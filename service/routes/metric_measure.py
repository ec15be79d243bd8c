"""A metric of pictures that are sent."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from metrics.registry import all_metrics
from models.errors import nearest
from service.dependencies import ServiceDep, body_of
from service.errors import UnknownMetric
from service.measuring import MetricAnswer, MetricRequest, measure
from service.operations import ERRORS, problems

router = APIRouter(tags=["metrics"])


@router.post(
    "/v1/metrics/{metric}",
    summary="Measure pictures",
    operation_id="measure",
    responses=problems(*ERRORS, 429),
    openapi_extra={
        "requestBody": {
            "content": {
                kind: {"schema": MetricRequest.model_json_schema()}
                for kind in ("application/json", "multipart/form-data")
            }
        }
    },
)
async def measure_pictures(
    name: Annotated[str, Path(alias="metric", description="As `GET /v1/metrics` lists it.")],
    body: Annotated[MetricRequest, body_of(MetricRequest)],
    service: ServiceDep,
    request: Request,
) -> MetricAnswer:
    """Pictures, alone or against others: those that are sent along, or the reference in a model's
    bundle. The same pictures, evaluator and seed give the same number."""
    known = all_metrics()
    if name not in known:
        raise UnknownMetric(f"there is no such metric{nearest(name[:64], known)}")
    return await measure(known[name], body, service, request)
