"""Where to go from the root."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter
from pydantic import BaseModel

from service.dependencies import ServiceDep

router = APIRouter(tags=["service"])


class Index(BaseModel):
    name: str
    version: str
    models: list[str]
    links: dict[str, str]


@router.get("/", summary="Name, version, links", operation_id="index")
async def index(service: ServiceDep) -> Index:
    links = ("/v1/models", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics")
    return Index(
        name="latentd",
        version=version("latentd"),
        models=[
            name for name, each in service.catalog.entries().items() if each.status != "refused"
        ],
        links={path.rpartition("/")[2].partition(".")[0]: path for path in links},
    )
