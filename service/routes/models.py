"""What is served, and what each model can be asked."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from models.bundle import Provenance
from models.capabilities import Density, Encoder, LatentSpace
from models.conditions import ConditionSchema
from service.answers import picture_formats
from service.catalog import Refused, Served
from service.dependencies import ModelName, Service, ServiceDep
from service.operations import operations_of, problems
from service.settings import Limits

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelSummary(BaseModel):
    id: str
    status: Literal["served", "refused"]
    reason: str | None = Field(default=None, description="Why it is refused.")
    family: str | None = None
    digest: str | None = None
    shape: list[int] | None = None
    capabilities: list[str] = []
    operations: dict[str, str] = Field(default={}, description="Each with its path.")


class Models(BaseModel):
    models: list[ModelSummary]


class Model(ModelSummary):
    latent_spaces: list[LatentSpace] = []
    condition_schema: ConditionSchema = ConditionSchema()
    inference: str | None = Field(default=None, description="How pictures are encoded.")
    maximum_effort: int | None = Field(default=None, description="Of a likelihood.")
    formats: list[str] = Field(default=[], description="In which pictures can go out.")
    limits: Limits | None = None
    batch_rows: int | None = Field(default=None, description="Rows of each pass.")
    metrics: dict[str, float] = {}
    provenance: Provenance | None = None
    card: str | None = Field(default=None, description="The model card, Markdown.")


@router.get("", summary="List the models", operation_id="list_models")
async def list_models(service: ServiceDep) -> Models:
    """Every bundle that was found, also those that cannot be served, and why."""
    entries = service.catalog.entries()
    return Models(models=[ModelSummary(**_summary(service, each)) for each in entries.values()])


@router.get(
    "/{name}", summary="Describe a model", operation_id="get_model", responses=problems(404)
)
async def get_model(name: ModelName, service: ServiceDep) -> Model:
    """What it is, what it can be asked for, how it was made and how it measured."""
    entry = service.catalog.entry(name)
    if isinstance(entry, Refused):
        return Model(**_summary(service, entry))
    return Model(**_summary(service, entry), **_details(service, entry))


def _summary(service: Service, entry: Served | Refused) -> dict[str, Any]:
    if isinstance(entry, Refused):
        return {"id": entry.id, "status": "refused", "reason": entry.reason}
    served = operations_of(entry, service.operations)
    return {
        "id": entry.id,
        "status": "served",
        "family": entry.description.family,
        "digest": entry.digest,
        "shape": entry.shape,
        "capabilities": entry.capabilities,
        "operations": {each.name: each.path.format(name=entry.id) for each in served},
    }


def _details(service: Service, served: Served) -> dict[str, Any]:
    description = served.description
    return {
        "latent_spaces": description.latent_spaces,
        "condition_schema": served.schema,
        "inference": served.offering(Encoder).inference if served.offers(Encoder) else None,
        "maximum_effort": (
            served.offering(Density).maximum_effort if served.offers(Density) else None
        ),
        "formats": picture_formats(served),
        "limits": service.settings.limits,
        "batch_rows": service.settings.batch_rows,
        "metrics": description.metrics,
        "provenance": description.provenance,
        "card": served.bundle.card,
    }
