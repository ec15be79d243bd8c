"""Answers in every format: JSON, PNG, WebP, NumPy, safetensors, ZIP.

An answer begins with the same facts in each of them: in JSON as fields, in a PNG as text chunks,
in safetensors as metadata, in a ZIP in its manifest, and in every format but JSON as headers.
"""

from __future__ import annotations

import base64
import io
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import orjson
import safetensors.torch
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from torch import Tensor

from models.conditions import Value
from service.calls import Call, facts_of
from service.catalog import Described
from service.negotiation import JSON, NPY, OCTETS, PNG, SAFETENSORS, WEBP, ZIP
from service.pictures import grid, levels_of, png, webp
from service.work import Decode, Rows

NUMBERS = (JSON, NPY, SAFETENSORS)
PICTURES = (JSON, PNG, WEBP, NPY, OCTETS, SAFETENSORS, ZIP)


class Answer(BaseModel):
    """What every answer says."""

    model_config = ConfigDict(extra="forbid")

    model: str
    digest: Annotated[str, Field(description="Of the bundle: with it, everything is reproducible.")]
    operation: str
    determinism: Annotated[
        Literal["strict", "fast"],
        Field(description="strict: model, digest, parameters, seed and row name the bytes."),
    ]
    seed: int | None


class PictureAnswer(BaseModel):
    """One picture, or one point where the model is about points."""

    model_config = ConfigDict(extra="forbid")

    row: int
    png: str | None = Field(default=None, description="A PNG file in base64.")
    values: list[float] | None = Field(default=None, description="Of a model of points.")
    latent: list[float] | None = Field(default=None, description='With "return_latents": true.')


class PicturesAnswer(Answer):
    pictures: list[PictureAnswer]


@dataclass
class Pictures:
    """Pictures that go out, and what is told of them.

    Args:
        x: (B, C, H, W) in [0, 1], or as 256 levels, uint8; or (B, D).
        rows: a number each; the rows of noise where they were drawn.
        latents: where they are asked for, (B, *latent shape).
        columns: of the grid, where one picture shows all.
        each: what else is told of each picture.
        parameters: what else must be known to draw them again; it goes into the files.
        facts: what else is told of all.
    """

    x: Tensor
    seed: int | None = None
    rows: Sequence[int] = ()
    latents: Tensor | None = None
    columns: int = 0
    each: Sequence[dict[str, Any]] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.x)
        self.rows = self.rows or range(count)
        self.columns = self.columns or math.ceil(math.sqrt(count))
        self.each = self.each or [{}] * count


def picture_formats(model: Described) -> tuple[str, ...]:
    """The formats in which a model's pictures can go out, the default first."""
    return PICTURES if model.has_pictures else NUMBERS


def number_formats(model: Described) -> tuple[str, ...]:
    """The formats in which numbers can go out."""
    return NUMBERS


def picture_response(call: Call, found: Pictures) -> Response:
    """Pictures in the format that was asked for; it takes a while."""
    facts = {**facts_of(call, found.seed), **found.facts}
    if call.format == JSON:
        return Response(orjson.dumps(_document(call, found, facts)), media_type=JSON)
    content = _RENDERERS[call.format](call, found, facts)
    return Response(
        content, media_type=call.format, headers=facts_headers(facts, first_row=found.rows[0])
    )


def facts_in_lines(call: Call, seed: int | None) -> bytes:
    """The first line of an answer in lines."""
    return orjson.dumps(facts_of(call, seed)) + b"\n"


def picture_lines(call: Call, found: Pictures) -> bytes:
    """Pictures as lines of JSON."""
    facts = {**facts_of(call, found.seed), **found.facts}
    pictures = _document(call, found, facts)["pictures"]
    return b"".join(orjson.dumps(picture) + b"\n" for picture in pictures)


async def answer_decoded(
    call: Call,
    z: Tensor,
    y: Tensor | None,
    show: Callable[[Tensor], Pictures],
    *,
    exact: bool = False,
) -> Response:
    """The pictures of latents (B, *latent shape) under conditions (B, width).

    Args:
        show: what goes out, of pictures (B, C, H, W); it runs in a coding thread.
        exact: `show` needs them as floats, not as levels.
    """
    work = Decode(as_levels=call.shows_levels and not exact)
    rows = Rows(len(z), {"z": z} if y is None else {"z": z, "y": y})
    response: Response = await call.run(
        work, rows, encode=lambda outputs: picture_response(call, show(outputs["x"]))
    )
    return response


async def answer_numbers(
    call: Call,
    seed: int | None,
    arrays: dict[str, Tensor],
    key: str,
    each: Sequence[dict[str, Any]],
    facts: dict[str, Any],
    first_row: int = 0,
) -> Response:
    """A response of numbers.

    Args:
        arrays: what goes out as safetensors; the first of them as NumPy's format.
        key: what the list is called in JSON.
        each: what is said of each row in JSON.
    """

    def make() -> Response:
        known = {**facts_of(call, seed), **facts}
        if call.format == JSON:
            rows = [{"row": first_row + index, **row} for index, row in enumerate(each)]
            return Response(orjson.dumps({**known, key: rows}), media_type=JSON)
        if call.format == NPY:
            content = _npy(next(iter(arrays.values())))
        else:
            content = _safetensors(arrays, known)
        return Response(
            content, media_type=call.format, headers=facts_headers(known, first_row=first_row)
        )

    return await call.in_thread(make)


def flat(rows: Tensor) -> list[list[float]]:
    """(B, ...) as a flat list each."""
    found: list[list[float]] = rows.flatten(1).tolist()
    return found


def named(call: Call, y: Tensor | None) -> list[dict[str, dict[str, Value]]]:
    """The attributes of condition vectors (B, width) by name; nothing for a model without."""
    if y is None:
        return []
    schema = call.served.schema
    return [{"attributes": schema.decode(row.numpy())} for row in y]


def _document(call: Call, found: Pictures, facts: dict[str, Any]) -> dict[str, Any]:
    if call.served.has_pictures:
        shown = [
            {"png": base64.b64encode(file).decode()} for file in _png_files(call, found, facts)
        ]
    else:
        shown = [{"values": values} for values in found.x.tolist()]
    latents = [] if found.latents is None else flat(found.latents)
    pictures = []
    for index, (row, picture, more) in enumerate(zip(found.rows, shown, found.each, strict=True)):
        latent = {"latent": latents[index]} if latents else {}
        pictures.append({"row": row, **picture, **latent, **more})
    return {**facts, "pictures": pictures}


def _png_files(call: Call, found: Pictures, facts: dict[str, Any]) -> list[bytes]:
    levels = levels_of(found.x).numpy()
    # Said of every picture alike, so that only the row is written anew for each.
    texts = _texts({**facts, **_parameters(found)})
    return [
        png(picture, {**texts, "row": str(row)})
        for picture, row in zip(levels, found.rows, strict=True)
    ]


def _shown(found: Pictures) -> Tensor:
    """All pictures as one, uint8 (C, H, W)."""
    return grid(levels_of(found.x), min(found.columns, len(found.x)))


def _as_png(call: Call, found: Pictures, facts: dict[str, Any]) -> bytes:
    rows = {"row": found.rows[0], "rows": len(found.x)}
    return png(_shown(found).numpy(), _texts({**facts, **rows, **_parameters(found)}))


def _parameters(found: Pictures) -> dict[str, Any]:
    return {"parameters": found.parameters} if found.parameters else {}


def _as_webp(call: Call, found: Pictures, facts: dict[str, Any]) -> bytes:
    return webp(_shown(found))


def _as_octets(call: Call, found: Pictures, facts: dict[str, Any]) -> bytes:
    return levels_of(found.x).contiguous().numpy().tobytes()


def _as_npy(call: Call, found: Pictures, facts: dict[str, Any]) -> bytes:
    return _npy(found.x)


def _as_safetensors(call: Call, found: Pictures, facts: dict[str, Any]) -> bytes:
    has_pictures = call.served.has_pictures
    arrays = {"pictures": levels_of(found.x)} if has_pictures else {"values": found.x}
    if found.latents is not None:
        arrays["latents"] = found.latents
    return _safetensors(arrays, {**facts, "first_row": found.rows[0], **_parameters(found)})


def _as_zip(call: Call, found: Pictures, facts: dict[str, Any]) -> bytes:
    document = _document(call, found, facts)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for index, picture in enumerate(document["pictures"]):
            picture["file"] = f"{index:04d}.png"
            _add(archive, picture["file"], base64.b64decode(picture.pop("png")))
        _add(archive, "manifest.json", orjson.dumps(document, option=orjson.OPT_INDENT_2))
    return file.getvalue()


_RENDERERS = {
    PNG: _as_png,
    WEBP: _as_webp,
    NPY: _as_npy,
    OCTETS: _as_octets,
    SAFETENSORS: _as_safetensors,
    ZIP: _as_zip,
}


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    # The same date always, so that the same request gives the same bytes.
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def _npy(values: Tensor) -> bytes:
    file = io.BytesIO()
    np.save(file, values.contiguous().numpy(), allow_pickle=False)
    return file.getvalue()


def _safetensors(arrays: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    tensors = {name: array.contiguous() for name, array in arrays.items()}
    return safetensors.torch.save(tensors, _texts(facts))


def _texts(facts: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in facts.items()
        if value is not None
    }


def facts_headers(facts: dict[str, Any], **more: int) -> dict[str, str]:
    """What every answer says, as headers."""
    names = ("model", "digest", "operation", "determinism", "seed")
    texts = _texts({**{name: facts[name] for name in names}, **more})
    return {f"X-Latentd-{name.replace('_', '-').title()}": text for name, text in texts.items()}
