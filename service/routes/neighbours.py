"""The nearest pictures of a gallery."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response
from torch import Tensor

from models.capabilities import BinaryCodes, Encoder
from models.conditions import Value
from models.errors import InvalidInput
from service.answers import NUMBERS, Answer, Pictures, answer_numbers, picture_response
from service.calls import Call
from service.catalog import Described
from service.dependencies import GalleriesDep, body_of, call_of
from service.encoding import encode_inputs
from service.fields import Inputs
from service.galleries import Galleries
from service.gallery_codes import (
    ReferenceSource,
    Searchable,
    Source,
    Space,
    gallery_source,
    reference_source,
    searchable,
)
from service.gallery_fields import GalleryName
from service.inputs import names_of_inputs, pictures_of
from service.negotiation import NPY, PNG, SAFETENSORS, WEBP
from service.operations import Operation
from service.pictures import levels_of, png
from service.search import Nearest, packed
from service.work import Hash, Rows

Code = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$")]


class NeighboursRequest(Inputs):
    codes: Annotated[list[Code], Field(min_length=1)] | None = Field(
        default=None,
        description="Binary codes in place of pictures, in hexadecimal, the first bit the highest.",
    )
    k: Annotated[int, Field(ge=1, le=100)] = 10
    space: Space = Field(
        default="pixel",
        description="pixel: Euclidean distance of pictures in [0, 1], or of points; latent: of the "
        "means of their encodings; code: Hamming distance of binary codes.",
    )
    gallery: GalleryName | None = Field(
        default=None, description="Null: the training pictures that are in the model's bundle."
    )
    return_pictures: bool = False


class Neighbour(BaseModel):
    index: int | None = Field(default=None, description="Place in the bundle's reference.")
    id: str | None = Field(default=None, description="In a gallery.")
    distance: float
    label: str | None = None
    attributes: dict[str, Value] | None = None
    png: str | None = Field(default=None, description='With "return_pictures": true.')
    values: list[float] | None = Field(default=None, description="Of a model of points.")


class RowNeighbours(BaseModel):
    row: int
    neighbours: list[Neighbour] = Field(description="The nearest first, ties in their order.")


class NeighboursAnswer(Answer):
    space: Space
    gallery: str | None
    version: int = Field(description="Of the gallery, which goes up with each change of it.")
    items: int = Field(description="How many were searched; no more than these are found.")
    exact: bool = Field(description="False: some of the nearest may be missed.")
    rows: list[RowNeighbours]


def _formats(model: Described) -> tuple[str, ...]:
    return (*NUMBERS, PNG, WEBP) if model.has_pictures else NUMBERS


operation = Operation(
    name="neighbours",
    summary="Find the nearest pictures",
    needs=(),
    request=NeighboursRequest,
    answer=NeighboursAnswer,
    formats=_formats,
    example={"pictures": ["<base64>"], "fit": "resize", "k": 3},
)
router = APIRouter()


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Args:
        pictures: of all neighbours, row after row, where they are asked for.
    """

    source: Source
    of: Searchable
    nearest: Nearest
    pictures: Tensor | None

    def numbers(self) -> list[int]:
        known = self.of.listing.numbers
        return [known[place] for place in self.nearest.indices.flatten().tolist()]


@router.post(operation.path, **operation.described)
async def neighbours(
    call: Annotated[Call, call_of(operation)],
    body: Annotated[NeighboursRequest, body_of(NeighboursRequest)],
    galleries: GalleriesDep,
) -> Response:
    """Of each picture the k nearest of a gallery, or of the pictures that the model learned from.

    Among up to 100,000 (and codes, as many as there are) the nearest are found without fail;
    beyond, some may be missed, and `exact` is false. The first question to a gallery takes longer:
    its pictures have to be encoded. As a picture, each row shows one query's neighbours.
    """
    count = _check(call, body)
    shows = call.format in (PNG, WEBP)
    if shows or body.return_pictures:
        call.check_rows(count * body.k, "k")
    source = await _source(call, galleries, body)
    queries = await _queries(call, body)
    with_pictures = shows or body.return_pictures
    while (found := await _found(call, source, body, queries, with_pictures)) is None:
        pass  # an item was deleted before its picture was read
    if shows:
        return await call.in_thread(lambda: _as_picture(call, found, body))
    each = await call.in_thread(lambda: _told(call, found))
    arrays = _arrays(call, found)
    return await answer_numbers(call, None, arrays, "rows", each, _facts(call, found, body))


def _check(call: Call, body: NeighboursRequest) -> int:
    """How many queries there are; raises InvalidInput for what does not go together."""
    given = [each for each in (body.pictures, body.values, body.codes) if each is not None]
    if len(given) != 1:
        raise InvalidInput("send exactly one of pictures, values and codes", "pictures")
    if body.space == "latent" and not call.served.offers(Encoder):
        raise InvalidInput("this model is no Encoder: it has no latents of pictures", "space")
    if body.space == "code" and not call.served.offers(BinaryCodes):
        raise InvalidInput("this model has no BinaryCodes", "space")
    if body.codes is not None and body.space != "code":
        raise InvalidInput('codes go with "space": "code"', "codes")
    if body.fit is not None and body.pictures is None:
        raise InvalidInput("fit goes with pictures", "fit")
    if body.attributes is not None and body.space != "latent":
        raise InvalidInput('attributes go with "space": "latent"', "attributes")
    if body.return_pictures and call.format == NPY:
        raise InvalidInput("an answer in NumPy's format has only distances", "return_pictures")
    return len(given[0])


async def _source(call: Call, galleries: Galleries, body: NeighboursRequest) -> Source:
    if body.gallery is None:
        return await reference_source(call)
    return await gallery_source(call, galleries, body.gallery)


async def _queries(call: Call, body: NeighboursRequest) -> Tensor:
    """What is searched for, a row each, as the gallery's items are kept."""
    if body.codes is not None:
        call.check_rows(len(body.codes), "codes")
        width = call.served.offering(BinaryCodes).bits // 8
        rows = [_code(text, width, index) for index, text in enumerate(body.codes)]
        return torch.tensor(rows, dtype=torch.uint8)
    if body.space == "latent":
        return (await encode_inputs(call, body)).posterior["mean"].flatten(1)
    x = await pictures_of(call, body)
    if body.space == "pixel":
        return levels_of(x).flatten(1) if call.served.has_pictures else x
    found = await call.run(Hash(), Rows(len(x), {"x": x}, names=names_of_inputs(body)))
    return packed(found["bits"])


def _code(text: str, width: int, index: int) -> list[int]:
    if len(text) != 2 * width:
        raise InvalidInput(
            f"expected {2 * width} hexadecimal digits, got {len(text)}", f"codes[{index}]"
        )
    return list(bytes.fromhex(text))


async def _found(
    call: Call, source: Source, body: NeighboursRequest, queries: Tensor, with_pictures: bool
) -> Found | None:
    """None where the picture of one is no longer there."""
    of = await searchable(call, source, body.space)
    nearest = await call.in_thread(lambda: of.search.nearest(queries, body.k))
    found = Found(source, of, nearest, None)
    if not with_pictures:
        return found
    pictures = await source.rows(call, found.numbers())
    return None if pictures is None else Found(source, of, nearest, pictures)


def _facts(call: Call, found: Found, body: NeighboursRequest) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "space": body.space,
        "gallery": body.gallery,
        "version": found.of.listing.version,
        "items": found.of.search.count,
        "exact": found.of.search.is_exact,
    }
    if call.format == SAFETENSORS and body.gallery is not None:
        ids = found.of.listing.ids
        facts["ids"] = [[ids[place] for place in row] for row in found.nearest.indices.tolist()]
    return facts


def _arrays(call: Call, found: Found) -> dict[str, Tensor]:
    arrays = {"distances": found.nearest.distances, "indices": found.nearest.indices}
    if found.pictures is not None:
        name = "pictures" if call.served.has_pictures else "values"
        shape = (*found.nearest.indices.shape, *call.served.shape)
        arrays[name] = found.pictures.reshape(shape)
    return arrays


def _told(call: Call, found: Found) -> list[dict[str, Any]]:
    """What is said of each query's neighbours."""
    shown = iter(_shown(call, found.pictures)) if found.pictures is not None else None
    rows = []
    for places, distances in zip(
        found.nearest.indices.tolist(), found.nearest.distances.tolist(), strict=True
    ):
        row = []
        for place, distance in zip(places, distances, strict=True):
            item = {**_item(found, place), "distance": distance}
            row.append({**item, **next(shown)} if shown is not None else item)
        rows.append({"neighbours": row})
    return rows


def _item(found: Found, place: int) -> dict[str, Any]:
    if isinstance(found.source, ReferenceSource):
        known: dict[str, Any] = {"index": place, "attributes": found.source.attributes(place)}
    else:
        listing = found.of.listing
        known = {"id": listing.ids[place], "label": listing.labels[place]}
    return {name: value for name, value in known.items() if value is not None}


def _shown(call: Call, pictures: Tensor) -> list[dict[str, Any]]:
    if not call.served.has_pictures:
        return [{"values": values} for values in pictures.tolist()]
    return [{"png": base64.b64encode(png(each, {})).decode()} for each in pictures.numpy()]


def _as_picture(call: Call, found: Found, body: NeighboursRequest) -> Response:
    if found.pictures is None or not len(found.pictures):
        raise InvalidInput("the gallery is empty: there is nothing to show", "gallery")
    columns = found.nearest.indices.shape[1]
    facts = _facts(call, found, body)
    return picture_response(call, Pictures(found.pictures, columns=columns, facts=facts))
