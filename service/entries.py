"""What stands in the catalog: an entry for each bundle that was found, a model for each loaded."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from models.bundle import Bundle, Description
from models.capabilities import (
    Capability,
    Conditional,
    Latent,
    LatentSpace,
    capabilities_of,
    offers,
)
from models.conditions import ConditionSchema
from models.errors import LatentdError, NotSupported
from models.family import Family, FamilyConfig
from service.discovery import Content, Found, Stamp, bytes_of
from service.errors import ModelRefused

C = TypeVar("C", bound=Capability)

Status: TypeAlias = Literal["unloaded", "loading", "loaded", "refused"]


class Described(ABC):
    """What can be asked about a model, whether its weights are in memory or not."""

    id: str

    @property
    @abstractmethod
    def description(self) -> Description:
        """The content of its config.json."""

    @property
    @abstractmethod
    def digest(self) -> str: ...

    @property
    @abstractmethod
    def model(self) -> Family[FamilyConfig]:
        """The family; it may be one without weights."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        return capabilities_of(self.model)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of its pictures, or (D,) of its points."""
        return self.description.shape

    @property
    def has_pictures(self) -> bool:
        return len(self.shape) == 3

    @property
    def schema(self) -> ConditionSchema:
        """The attributes that it takes; empty where it takes none."""
        if self.offers(Conditional):
            return self.offering(Conditional).condition_schema
        return ConditionSchema()

    @property
    def latent_space(self) -> LatentSpace:
        return self.offering(Latent).latent_spaces[0]

    def offers(self, *capabilities: Callable[..., Capability]) -> bool:
        # Asked many times in a request, of what never changes in a model's life.
        known: dict[Any, bool] = self.model.__dict__.setdefault("_offers", {})
        found = known.get(capabilities)
        if found is None:
            found = known[capabilities] = all(
                isinstance(each, type) and offers(self.model, each) for each in capabilities
            )
        return found

    # A Callable, as mypy would let no abstract class through `type[C]`.
    def offering(self, capability: Callable[..., C]) -> C:
        """The model as one that has the capability.

        Raises:
            NotSupported: it has not.
        """
        model: Any = self.model
        if not self.offers(capability):
            name = getattr(capability, "__name__", "that")
            raise NotSupported(f"this model has not the capability {name}")
        found: C = model
        return found


@dataclass(frozen=True, eq=False)
class Served(Described):
    """A model in memory. Whoever holds one may go on using it after a swap or an eviction; its
    memory is freed when the last holder lets go.

    `prepared` is what the catalog's `prepare` made of it. It must not hold the Served itself, or
    the two would keep each other.
    """

    id: str
    bundle: Bundle
    prepared: Any = field(default=None, repr=False)

    @property
    def description(self) -> Description:
        return self.bundle.description

    @property
    def digest(self) -> str:
        return self.bundle.digest

    @property
    def model(self) -> Family[FamilyConfig]:
        return self.bundle.model

    @cached_property
    def bytes(self) -> int:
        return bytes_of(self.bundle.model)


@dataclass(frozen=True)
class Refusal:
    """Why a bundle, as its files were at the time of `stamp`, was not loaded.

    `kind` is ModelRefused where the bundle is to blame; anything else may be over by the next try.
    """

    reason: str
    stamp: Stamp
    kind: type[LatentdError] = ModelRefused

    def stands(self, stamp: Stamp) -> bool:
        """Whether another try would end the same: the files are, and they are to blame."""
        return self.kind is ModelRefused and self.stamp == stamp

    def error(self) -> LatentdError:
        if self.kind is ModelRefused:
            return ModelRefused(f"the bundle of this model cannot be served: {self.reason}")
        return self.kind(self.reason)


Outcome: TypeAlias = Served | Refusal


@dataclass(eq=False)
class Entry(Described):
    """A bundle that was found. It answers for the version that is loaded or, where none is, for
    the one on disk.

    Args:
        found: what the last look at the disk saw.
        refusal: why the last load failed, also while an older version is served.
        last_used: by the monotonic clock.
    """

    id: str
    found: Found
    is_pinned: bool = False
    served: Served | None = None
    loading: asyncio.Task[Outcome] | None = None
    refusal: Refusal | None = None
    last_used: float = 0.0

    @property
    def status(self) -> Status:
        if self.served is not None:
            return "loaded"
        if self.loading is not None:
            return "loading"
        is_refused = self.refusal is not None and self.refusal.kind is ModelRefused
        return "refused" if is_refused else "unloaded"

    @property
    def reason(self) -> str | None:
        return self.refusal.reason if self.refusal is not None else None

    def see(self, found: Found) -> bool:
        """Take in what a new look at the disk saw; whether there is something new to try."""
        if self.refusal is not None:
            is_new = not self.refusal.stands(found.stamp)
        else:
            is_new = self.found.digest != found.digest
        is_served = self.served is not None and self.served.digest == found.digest
        if is_new or is_served:
            self.refusal = None
        if found.content is None:
            self.refusal = Refusal(found.reason, found.stamp)
        self.found = found
        return is_new and found.content is not None

    @property
    def path(self) -> Path:
        return self.found.path

    @property
    def bytes(self) -> int:
        """The memory that the model takes: none while it is not loaded."""
        return self.served.bytes if self.served is not None else 0

    @property
    def is_described(self) -> bool:
        """Whether anything can be asked about it: a refused bundle may have no config.json."""
        return self.served is not None or self.found.content is not None

    @property
    def description(self) -> Description:
        return self._source.description

    @property
    def digest(self) -> str:
        return self._source.digest

    @property
    def blank(self) -> Family[FamilyConfig]:
        """The model on disk without its weights."""
        return self._content.blank

    @property
    def model(self) -> Family[FamilyConfig]:
        return self.served.model if self.served is not None else self.blank

    @property
    def _source(self) -> Served | Content:
        return self.served if self.served is not None else self._content

    @property
    def _content(self) -> Content:
        if self.found.content is None:
            raise Refusal(self.found.reason, self.found.stamp).error()
        return self.found.content
