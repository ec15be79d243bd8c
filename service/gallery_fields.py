"""What the routes of galleries have in common."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Path
from pydantic import BaseModel, Field

from service.galleries import Gallery

NAME = r"^[a-z0-9][a-z0-9-]{0,63}$"
ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"  # it stands in a path

GalleryName: TypeAlias = Annotated[str, Field(pattern=NAME)]
ItemId: TypeAlias = Annotated[str, Field(pattern=ID)]
Label: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]

PathName: TypeAlias = Annotated[str, Path(alias="gallery", description="The gallery's name.")]
PathId: TypeAlias = Annotated[str, Path(alias="id", description="The item's id.")]


class GallerySummary(BaseModel):
    name: str
    shape: list[int] = Field(description="Channels, height and width of its pictures.")
    items: int
    version: int = Field(description="Goes up with each change.")
    made: str


def summary_of(gallery: Gallery) -> dict[str, object]:
    """The fields of a GallerySummary."""
    known = vars(gallery)
    return {name: known[name] for name in GallerySummary.model_fields}
