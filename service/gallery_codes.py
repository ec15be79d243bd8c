"""What can be searched, and where in a space it lies: kept while the model is in memory.

Items are encoded once, in pieces, so that others' work gets between. What was encoded is kept when
a request ends before all is, and when a gallery changes only what is new is encoded.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import Reference
from models.capabilities import AttributeClassifier
from models.conditions import Attribute, ConditionSchema, Continuous, Value
from models.errors import InvalidInput
from service.calls import Call
from service.catalog import Served
from service.errors import UnknownGallery
from service.galleries import Galleries, Gallery, Listing
from service.search import CodeSearch, Search, VectorSearch, packed
from service.work import Classify, Encode, Hash, Rows

Space: TypeAlias = Literal["pixel", "latent", "code"]

PIECE = 64  # items that are encoded at a time
MOST_KEPT = 8  # galleries of a model, in one of the spaces each

REFERENCE = 0  # the key of a bundle's own pictures; galleries' begin with 1


@dataclass(frozen=True)
class Searchable:
    """A gallery at one of its versions, in one space."""

    search: Search
    listing: Listing


@dataclass
class Shelf:
    """What is known of a gallery in one space: of some items, in the order of their numbers."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    numbers: list[int] = field(default_factory=list)
    parts: list[Tensor] = field(default_factory=list)
    searchable: Searchable | None = None


class Source(ABC):
    """Rows that can be encoded and searched."""

    key: int

    @abstractmethod
    async def version(self, call: Call) -> int: ...

    @abstractmethod
    async def listing(self, call: Call) -> Listing: ...

    @abstractmethod
    async def rows(self, call: Call, numbers: Sequence[int]) -> Tensor | None:
        """uint8 (N, C, H, W), or float32 (N, D); None where one is no longer there."""

    @abstractmethod
    async def conditions(self, call: Call, x: Tensor, numbers: Sequence[int]) -> Tensor:
        """What a conditional model encodes rows x with, (N, width)."""

    @abstractmethod
    def owner(self, call: Call, space: Space) -> object:
        """Whose end is the end of what is kept."""


class ReferenceSource(Source):
    """A bundle's own training pictures; their numbers are their places in it."""

    key = REFERENCE

    def __init__(self, served: Served) -> None:
        reference: Reference = served.bundle.reference()
        self._rows = torch.from_numpy(reference.training.copy())
        self._columns = reference.training_attributes
        # A bundle that is older than the schema of attributes has those of its conditions.
        described = served.description.attribute_schema
        self._known: ConditionSchema = described if described.attributes else served.schema
        self._y = None if self._columns is None else _conditions(served, self._known, self._columns)
        count = len(self._rows)
        self._listing = Listing(0, tuple(range(count)), (), ())

    async def version(self, call: Call) -> int:
        return 0

    async def listing(self, call: Call) -> Listing:
        return self._listing

    async def rows(self, call: Call, numbers: Sequence[int]) -> Tensor | None:
        return self._rows[list(numbers)]

    async def conditions(self, call: Call, x: Tensor, numbers: Sequence[int]) -> Tensor:
        if self._y is None:
            message = "the bundle's reference pictures have no attributes to encode them with"
            raise InvalidInput(message, "space")
        return self._y[list(numbers)]

    def attributes(self, number: int) -> dict[str, Value] | None:
        """What is known of a picture."""
        if self._columns is None or not self._known.attributes:
            return None
        row = self._columns[number].tolist()
        return {
            attribute.name: _value(attribute, at)
            for attribute, at in zip(self._known.attributes, row, strict=True)
        }

    def owner(self, call: Call, space: Space) -> object:
        return call.served


class GallerySource(Source):
    """A user's gallery."""

    def __init__(self, galleries: Galleries, gallery: Gallery) -> None:
        self._galleries, self._gallery = galleries, gallery
        self.key = gallery.key

    async def version(self, call: Call) -> int:
        return await call.in_thread(lambda: self._galleries.version(self.key))

    async def listing(self, call: Call) -> Listing:
        return await call.in_thread(lambda: self._galleries.listing(self.key))

    async def rows(self, call: Call, numbers: Sequence[int]) -> Tensor | None:
        return await call.in_thread(lambda: self._galleries.pixels(self._gallery, numbers))

    async def conditions(self, call: Call, x: Tensor, numbers: Sequence[int]) -> Tensor:
        if not call.served.offers(AttributeClassifier):
            message = "this model encodes no picture whose attributes it is not told"
            raise InvalidInput(message, "gallery")
        found: Tensor = (await call.run(Classify(), Rows(len(x), {"x": x})))["y"]
        return found

    def owner(self, call: Call, space: Space) -> object:
        return self._galleries if space == "pixel" else call.served


_sources: WeakKeyDictionary[Served, ReferenceSource] = WeakKeyDictionary()
_shelves: WeakKeyDictionary[object, OrderedDict[tuple[int, Space], Shelf]] = WeakKeyDictionary()


async def reference_source(call: Call) -> ReferenceSource:
    """Raises InvalidInput where the bundle has no training pictures."""
    source = _sources.get(call.served)
    if source is None:
        source = await call.in_thread(lambda: ReferenceSource(call.served))
        source = _sources.setdefault(call.served, source)
    if not (await source.listing(call)).numbers:
        raise InvalidInput("this model's bundle has no reference pictures", "gallery")
    return source


async def gallery_source(call: Call, galleries: Galleries, name: str) -> GallerySource:
    """
    Raises:
        NoGalleries
        InvalidInput: there is no such gallery, or its pictures are not of the model's shape.
    """
    try:
        gallery = await call.in_thread(lambda: galleries.get(name))
    except UnknownGallery as error:
        raise InvalidInput(str(error), "gallery") from error
    if gallery.shape != call.served.shape:
        raise InvalidInput(
            f"the gallery's pictures have shape {list(gallery.shape)}, "
            f"the model's data {list(call.served.shape)}",
            "gallery",
        )
    return GallerySource(galleries, gallery)


async def searchable(call: Call, source: Source, space: Space) -> Searchable:
    """All items of a source as they are now, to be searched.

    Raises:
        UnknownGallery: it was deleted meanwhile.
    """
    shelf = _shelf(call, source, space)
    async with shelf.lock:  # whoever comes meanwhile waits, and finds it done
        while True:
            known = shelf.searchable
            if known is not None and known.listing.version == await source.version(call):
                return known
            listing = await source.listing(call)
            if not await _fill(call, source, space, shelf, listing.numbers):
                continue  # an item was deleted since it was listed
            shelf.searchable = await call.in_thread(partial(_made, shelf, space, listing))
            return shelf.searchable


async def reference_latents(call: Call, most: int) -> tuple[Tensor, ReferenceSource]:
    """The means of the first reference pictures' encodings, float32 (N, D)."""
    source = await reference_source(call)
    shelf = _shelf(call, source, "latent")
    async with shelf.lock:
        numbers = (await source.listing(call)).numbers[:most]
        await _fill(call, source, "latent", shelf, numbers)
        return torch.cat(shelf.parts)[: len(numbers)], source


def _shelf(call: Call, source: Source, space: Space) -> Shelf:
    """The one that is used the longest ago makes room for a new one."""
    shelves = _shelves.setdefault(source.owner(call, space), OrderedDict())
    shelf = shelves.setdefault((source.key, space), Shelf())
    shelves.move_to_end((source.key, space))
    while len(shelves) > MOST_KEPT:
        shelves.popitem(last=False)
    return shelf


async def _fill(
    call: Call, source: Source, space: Space, shelf: Shelf, numbers: Sequence[int]
) -> bool:
    """Encode what is not yet; False where an item is no longer there."""
    known = set(shelf.numbers)
    missing = [number for number in numbers if number not in known]
    for start in range(0, len(missing), PIECE):
        piece = missing[start : start + PIECE]
        rows = await source.rows(call, piece)
        if rows is None:
            return False
        shelf.parts.append(await _encoded(call, source, space, rows, piece))
        shelf.numbers += piece
    return True


async def _encoded(
    call: Call, source: Source, space: Space, rows: Tensor, numbers: Sequence[int]
) -> Tensor:
    if space == "pixel":
        return rows.flatten(1)
    x = rows.float() / 255 if call.served.has_pictures else rows
    names = ("gallery",) * len(x)
    if space == "code":
        return packed((await call.run(Hash(), Rows(len(x), {"x": x}, names=names)))["bits"])
    tensors = {"x": x}
    if call.served.schema.attributes:
        tensors["y"] = await source.conditions(call, x, numbers)
    mean: Tensor = (await call.run(Encode(), Rows(len(x), tensors, names=names)))["mean"]
    return mean.flatten(1)


def _made(shelf: Shelf, space: Space, listing: Listing) -> Searchable:
    """Of what is still listed; the rest is forgotten."""
    listed = set(listing.numbers)
    places = [place for place, number in enumerate(shelf.numbers) if number in listed]
    if shelf.parts:
        rows = torch.cat(shelf.parts)
        rows = rows if len(places) == len(rows) else rows[places]
        shelf.parts, shelf.numbers = [rows], list(listing.numbers)
    else:
        rows = torch.zeros(0, 1, dtype=torch.uint8)
    return Searchable(_search_of(rows, space), listing)


def _search_of(rows: Tensor, space: Space) -> Search:
    if space == "code":
        return CodeSearch(rows)
    return VectorSearch(rows, 1 / 255 if rows.dtype == torch.uint8 else 1.0)


def _conditions(
    served: Served, known: ConditionSchema, columns: NDArray[np.float32]
) -> Tensor | None:
    """Columns of what is known of rows as the model's conditions; None where some are lacking."""
    schema = served.schema
    if not schema.attributes or not set(schema.names) <= set(known.names):
        return None
    chosen = columns[:, [known.names.index(name) for name in schema.names]]
    return torch.from_numpy(np.ascontiguousarray(schema.encode_columns(chosen)))


def _value(attribute: Attribute, at: float) -> Value:
    """An attribute of a row, as its column has it."""
    if isinstance(attribute, Continuous):
        return at  # itself: between its ends and back it would be rounded
    return attribute.decode(attribute.encode_column(np.array([at], np.float32))[0])
