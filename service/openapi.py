"""What FastAPI cannot see: the bodies that are read by our own parser, and problems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from service.errors import Problem
from service.operations import Operation


def describe(app: FastAPI, operations: Iterable[Operation]) -> None:
    """Give the OpenAPI document the schemas of requests and problems."""
    make = app.openapi
    requests = [(each.request, "validation") for each in operations]

    is_described = False

    def openapi() -> dict[str, Any]:
        nonlocal is_described
        document = make()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if not is_described:
            is_described = True
            template = "#/components/schemas/{model}"
            _, ours = models_json_schema(
                [*requests, (Problem, "serialization")],  # type: ignore[list-item]
                ref_template=template,
            )
            schemas.update(ours["$defs"])
            # Every body is read by our own parser: FastAPI's own kind of error never occurs.
            for path in document["paths"].values():
                for operation in path.values():
                    _use_problems(operation)
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _use_problems(operation: dict[str, Any]) -> None:
    answer = operation["responses"].get("422", {})
    if "application/json" in answer.get("content", {}):
        del operation["responses"]["422"]
