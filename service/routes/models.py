"""What is served, and what each model can be asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from models.bundle import CARD, Provenance
from models.capabilities import Density, Encoder, LatentSpace, Stepwise
from models.conditions import ConditionSchema
from service.answers import picture_formats
from service.dependencies import ModelName, Service, ServiceDep
from service.entries import Entry
from service.operations import problems
from service.plans import Plans
from service.settings import Limits
from service.summaries import ModelSummary, summary_of

router = APIRouter(prefix="/v1/models", tags=["models"])


class Models(BaseModel):
    models: list[ModelSummary]


class WorkCost(BaseModel):
    batch_rows: list[int] = Field(description="The batch sizes it may run in.")
    row_seconds: float = Field(description="Of a row (of a step, where it takes many) at its best.")


class SamplerOption(BaseModel):
    lowest: float
    highest: float
    default: float
    description: str


class Model(ModelSummary):
    latent_spaces: list[LatentSpace] = []
    condition_schema: ConditionSchema = ConditionSchema()
    attribute_schema: ConditionSchema = Field(
        default=ConditionSchema(), description="What is known of the bundle's reference pictures."
    )
    directions: list[str] = Field(
        default=[], description="Attributes that `arithmetic` and `edit` can add."
    )
    inference: str | None = Field(default=None, description="How pictures are encoded.")
    maximum_effort: int | None = Field(default=None, description="Of a likelihood.")
    likelihood_methods: list[str] = Field(default=[], description="Other ways of scoring.")
    default_steps: int | None = Field(default=None, description="Of a model that samples in steps.")
    largest_steps: int | None = None
    options: dict[str, SamplerOption] = Field(default={}, description="Of the same.")
    formats: list[str] = Field(default=[], description="In which pictures can go out.")
    limits: Limits | None = None
    work: dict[str, WorkCost] | None = Field(
        default=None, description="While it is loaded: what operations are made of, and its cost."
    )
    metrics: dict[str, float] = {}
    provenance: Provenance | None = None
    card: str | None = Field(default=None, description="The model card, Markdown.")


@router.get("", summary="List the models", operation_id="list_models")
async def list_models(service: ServiceDep) -> Models:
    """Every bundle that was found, also those that cannot be served, and why."""
    entries = service.catalog.entries()
    return Models(models=[ModelSummary(**summary_of(service, each)) for each in entries.values()])


@router.get(
    "/{name}", summary="Describe a model", operation_id="get_model", responses=problems(404)
)
async def get_model(name: ModelName, service: ServiceDep) -> Model:
    """What it is, what it can be asked for, how it was made and how it measured."""
    entry = service.catalog.entry(name)
    card = await asyncio.get_running_loop().run_in_executor(service.pool, _card, entry.path)
    details = _details(service, entry) if entry.is_described else {}
    return Model(**summary_of(service, entry), **details, card=card)


def _details(service: Service, entry: Entry) -> dict[str, Any]:
    description = entry.description
    return {
        "latent_spaces": description.latent_spaces,
        "condition_schema": entry.schema,
        "attribute_schema": description.attribute_schema,
        "directions": description.directions,
        "inference": entry.offering(Encoder).inference if entry.offers(Encoder) else None,
        "maximum_effort": (
            entry.offering(Density).maximum_effort if entry.offers(Density) else None
        ),
        "likelihood_methods": (entry.offering(Density).methods if entry.offers(Density) else []),
        **(_chains(entry.offering(Stepwise)) if entry.offers(Stepwise) else {}),
        "formats": picture_formats(entry),
        "limits": service.settings.limits,
        "work": _work(entry),
        "metrics": description.metrics,
        "provenance": description.provenance,
    }


def _chains(model: Stepwise) -> dict[str, Any]:
    return {
        "default_steps": model.default_steps,
        "largest_steps": model.default_steps if model.steps_share_work else model.largest_steps,
        "options": {name: vars(option) for name, option in model.options.items()},
    }


def _work(entry: Entry) -> dict[str, WorkCost] | None:
    plans = entry.served.prepared if entry.served is not None else None
    if not isinstance(plans, Plans):
        return None
    return {
        work.name: WorkCost(batch_rows=list(plan.shapes), row_seconds=plan.row_seconds)
        for work, plan in plans.known.items()
        if work.plan == work and not work.has_one_shape
    }


def _card(path: Path) -> str | None:
    try:
        return (path / CARD).read_text("utf-8", "replace")
    except OSError:
        return None
