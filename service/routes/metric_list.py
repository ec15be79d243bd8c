"""Which metrics there are."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from metrics.metric import Metric
from metrics.registry import all_metrics
from models.errors import nearest
from service.errors import UnknownMetric
from service.operations import problems

router = APIRouter(prefix="/v1/metrics", tags=["metrics"])


class MetricSummary(BaseModel):
    name: str
    definition: str
    source: str
    better: Literal["higher", "lower", "neither"]
    lowest: float | None
    highest: float | None
    unit: str
    smallest_n: int = Field(description="Rows of each set below which the number says little.")
    misses: str = Field(description="What it is blind to.")
    needs: list[str] = Field(description="What it is computed of.")


class MetricList(BaseModel):
    metrics: list[MetricSummary]


@router.get("", summary="List the metrics", operation_id="list_metrics")
async def list_metrics() -> MetricList:
    """What each says, and what it does not."""
    return MetricList(metrics=[_summary(each) for each in all_metrics().values()])


@router.get(
    "/{metric}",
    summary="Describe a metric",
    operation_id="get_metric",
    responses=problems(404),
)
async def get_metric(
    name: Annotated[str, Path(alias="metric", description="As `GET /v1/metrics` lists it.")],
) -> MetricSummary:
    """Its definition, direction, range and limits."""
    known = all_metrics()
    if name not in known:
        raise UnknownMetric(f"there is no such metric{nearest(name[:64], known)}")
    return _summary(known[name])


def _summary(metric: Metric) -> MetricSummary:
    names = MetricSummary.model_fields.keys() - {"needs"}
    return MetricSummary(
        **{name: getattr(metric, name) for name in names}, needs=list(metric.needs)
    )
