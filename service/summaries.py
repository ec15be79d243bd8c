"""What is told of a model, loaded or not."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from service.dependencies import Service
from service.entries import Entry, Status
from service.operations import operations_of


class ModelSummary(BaseModel):
    id: str
    status: Status = Field(
        description="Unloaded ones are loaded when they are first asked for something."
    )
    reason: str | None = Field(
        default=None,
        description="Why it is refused; with the status `loaded`, why a newer version is.",
    )
    pinned: bool = Field(description="Whether it is never put out of memory for others.")
    bytes: int | None = Field(default=None, description="Of memory, while it is loaded.")
    family: str | None = None
    digest: str | None = None
    shape: list[int] | None = None
    capabilities: list[str] = []
    operations: dict[str, str] = Field(default={}, description="Each with its path.")


def summary_of(service: Service, entry: Entry) -> dict[str, Any]:
    """The fields of a ModelSummary."""
    known: dict[str, Any] = {
        "id": entry.id,
        "status": entry.status,
        "reason": entry.reason,
        "pinned": entry.is_pinned,
        "bytes": entry.bytes if entry.status == "loaded" else None,
    }
    if not entry.is_described:
        return known
    operations = operations_of(entry, service.operations)
    return {
        **known,
        "family": entry.description.family,
        "digest": entry.digest,
        "shape": entry.shape,
        "capabilities": entry.capabilities,
        "operations": {each.name: each.path.format(name=entry.id) for each in operations},
    }
