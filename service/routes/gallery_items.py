"""Put pictures into a gallery."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from models.errors import InvalidInput
from service.dependencies import Service, ServiceDep, body_of
from service.fields import Fit, Picture, Strict
from service.galleries import Added, Item, id_of
from service.gallery_fields import ItemId, Label, PathName
from service.operations import problems
from service.pictures import PixelBudget, from_base64, levels_of, read_picture

router = APIRouter(tags=["galleries"])


class ItemsRequest(Strict):
    pictures: Annotated[list[Picture], Field(min_length=1)]
    fit: Fit | None = None
    ids: list[ItemId] | None = Field(
        default=None,
        description="One of each picture; an item that has it already is replaced. Absent: of the "
        "pixels' digest, so that sending a picture again changes nothing.",
    )
    labels: list[Label | None] | None = Field(default=None, description="One of each picture.")


class ItemsAnswer(BaseModel):
    gallery: str
    version: int
    items: int = Field(description="How many there are now.")
    added: int
    replaced: int = Field(description="How many took the place of one with the same id.")
    ids: list[str] = Field(description="Of the pictures that were sent, in their order.")


@router.post(
    "/v1/galleries/{gallery}/items",
    summary="Put pictures into a gallery",
    operation_id="put_gallery_items",
    responses=problems(400, 404, 413, 415, 422, 501),
    openapi_extra={
        "requestBody": {
            "content": {
                kind: {"schema": ItemsRequest.model_json_schema()}
                for kind in ("application/json", "multipart/form-data")
            }
        }
    },
)
async def put_items(
    name: PathName, body: Annotated[ItemsRequest, body_of(ItemsRequest)], service: ServiceDep
) -> ItemsAnswer:
    """All of them or, where one is wrong, none. They are on the disk before the answer is sent."""
    ids, added = await service.in_thread(lambda: _put(service, name, body))
    now = added.gallery
    return ItemsAnswer(
        gallery=now.name,
        version=now.version,
        items=now.items,
        added=added.added,
        replaced=added.replaced,
        ids=ids,
    )


def _put(service: Service, name: str, body: ItemsRequest) -> tuple[list[str], Added]:
    count, most = len(body.pictures), service.settings.limits.rows
    gallery = service.galleries.get(name)
    if count > most:
        raise InvalidInput(f"that is {count} pictures, at most {most} are allowed", "pictures")
    for param, given in (("ids", body.ids), ("labels", body.labels)):
        if given is not None and len(given) != count:
            raise InvalidInput(f"expected one of each of {count} pictures", param)
    if body.ids is not None:
        _check_ids(body.ids)
    budget = PixelBudget(service.settings.limits.pixels)
    items: dict[str, Item] = {}
    ids = []
    for index, text in enumerate(body.pictures):
        param = f"pictures[{index}]"
        x = read_picture(from_base64(text, param), gallery.shape, body.fit, budget, param)
        levels = levels_of(x)
        ids.append(body.ids[index] if body.ids is not None else id_of(levels))
        label = body.labels[index] if body.labels is not None else None
        items[ids[-1]] = Item(ids[-1], label, levels)
    return ids, service.galleries.put(name, list(items.values()))


def _check_ids(ids: list[str]) -> None:
    seen = set()
    for index, id in enumerate(ids):
        if id in seen:
            raise InvalidInput("the same id stands twice", f"ids[{index}]")
        seen.add(id)
