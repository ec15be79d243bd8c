"""A request's body to its model: JSON, or multipart whose parts are fields of the same JSON.

In multipart a text part is one field (`effort=5`, `condition={"smile": true}`), and a file part a
picture at the path that it is called by (`pictures`, as often as there are pictures, or
`points[1].picture`). Both are then one JSON text, so that there is one validation.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from models.errors import InvalidInput, nearest
from service.errors import MalformedBody, WrongMediaType
from service.headers import header
from service.settings import Limits

B = TypeVar("B", bound=BaseModel)

# A string is one token, so that brackets inside it do not count. Possessive and without a needed
# end, so that no text makes it go over the same characters twice.
TOKENS = re.compile(rb'"(?:[^"\\]++|\\[\s\S])*+"?|[\[\]{}]')
LISTS = ("pictures", "reference_pictures")  # of files
OPENING = (b"[", b"{")
PATH = re.compile(r"[a-z_]+(?:\[[0-9]{1,4}\])?(?:\.[a-z_]+(?:\[[0-9]{1,4}\])?){0,3}")
STEP = re.compile(r"[a-z_]+|[0-9]+")


async def read_text(request: Request, limits: Limits) -> bytes:
    """The body as JSON text.

    Raises:
        WrongMediaType, MalformedBody, BodyTooLarge
    """
    if (header(request.scope, b"content-encoding") or "identity").lower() != "identity":
        raise WrongMediaType("send the body without a Content-Encoding")
    kind = (header(request.scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return orjson.dumps(await _read_parts(request, limits))
    text = await _whole(request)
    if not text and not kind:
        return b"{}"
    if kind != "application/json":
        raise WrongMediaType("send application/json or multipart/form-data")
    return text


async def _whole(request: Request) -> bytes:
    """The body; Starlette's own way takes longer than all that a small one needs."""
    parts = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def parse(text: bytes, model: type[B], limits: Limits) -> B:
    """A JSON text as a request.

    Raises:
        MalformedBody: it is no JSON, or nested too deeply.
        InvalidInput: a field is wrong; `param` names it.
    """
    _check_depth(text, limits.json_depth)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            reason = first.get("ctx", {}).get("error", "")
            raise MalformedBody(f"the body is not valid JSON: {reason}") from error
        raise _invalid(first, model) from error


def _check_depth(text: bytes, most: int) -> None:
    if text.count(b"[") + text.count(b"{") <= most:
        return
    depth = 0
    for token in TOKENS.finditer(text):
        first = token.group()[:1]
        if first == b'"':
            continue
        depth += 1 if first in OPENING else -1
        if depth > most:
            raise MalformedBody(f"the body is nested more than {most} levels deep")


def _invalid(error: ErrorDetails, model: type[BaseModel]) -> InvalidInput:
    """pydantic's error as ours. Only names of fields are repeated, never what the caller wrote."""
    known = _field_names(model)
    param = ""
    for step in error["loc"]:
        if isinstance(step, int):
            param += f"[{step}]"
        elif step in known:
            param += f".{step}" if param else step
        else:
            break  # the caller's own key, or the name of one of several types
    if error["type"] == "extra_forbidden":
        wrong = str(error["loc"][-1])[:64]
        return InvalidInput(f"there is a field that is not known{nearest(wrong, known)}", param)
    message = error["msg"].removeprefix("Value error, ")
    return InvalidInput(message, param or None)


@cache
def _field_names(model: type[BaseModel]) -> frozenset[str]:
    """Names of all fields of a request, also of those within."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return frozenset(name for part in parts for name in part.get("properties", {}))


async def _read_parts(request: Request, limits: Limits) -> dict[str, Any]:
    content: dict[str, Any] = {}
    try:
        form = await request.form(
            max_files=limits.parts, max_fields=limits.parts, max_part_size=limits.body_bytes
        )
    except HTTPException as error:
        raise MalformedBody("the body is not valid multipart/form-data") from error
    try:
        for name, part in form.multi_items():
            if not PATH.fullmatch(name):
                raise InvalidInput(
                    "parts are called by the field that they are, as in pictures or "
                    "points[1].picture"
                )
            if isinstance(part, UploadFile):
                value: Any = base64.b64encode(await part.read()).decode()
                path = _path_of(name, content)
            else:
                path, value = _steps(name), _value_of(part, limits)
            _put(content, path, value)
    finally:
        await form.close()
    return content


def _path_of(name: str, content: dict[str, Any]) -> list[str | int]:
    """Where a file goes: `pictures`, without a place, is the next of them."""
    if name not in LISTS:
        return _steps(name)
    known = content.get(name, [])
    return [name, len(known) if isinstance(known, list) else 0]


def _value_of(text: str, limits: Limits) -> Any:
    """A text part: JSON where it is some, else a plain string."""
    _check_depth(text.encode("utf-8", "replace"), limits.json_depth)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _steps(name: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in STEP.findall(name)]


def _put(content: Any, path: Sequence[str | int], value: Any) -> None:
    """Set what stands at a path, making objects and lists on the way.

    Raises:
        InvalidInput: the path goes through something else, or leaves out places of a list.
    """
    step, *rest = path
    nothing: Any = value if not rest else [] if isinstance(rest[0], int) else {}
    if isinstance(step, int) and isinstance(content, list) and step <= len(content):
        if step == len(content):
            content.append(nothing)
    elif isinstance(step, str) and isinstance(content, dict):
        content.setdefault(step, nothing)
    else:
        raise InvalidInput("a part's name does not fit the parts before it")
    if rest:
        _put(content[step], rest, value)
    else:
        content[step] = value
