"""What each file in `routes/` that asks something of a model says of itself.

The service, the models' pages and the 501 answers find operations by these values alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from models.capabilities import Capability
from service.catalog import Described
from service.errors import PROBLEM_TYPE, NotServed, Problem

ERRORS = (400, 404, 406, 413, 415, 422, 500, 501, 503, 504)


@dataclass(frozen=True)
class Operation:
    """A question that models with certain capabilities can be asked.

    Args:
        name: the last part of its path.
        needs: the capabilities.
        request: the body's model.
        answer: the model of the JSON answer.
        formats: in which an answer can go out, the default first.
        example: a body that works with every model, as far as there is one.
    """

    name: str
    summary: str
    needs: tuple[Callable[..., Capability], ...]
    request: type[BaseModel]
    answer: type[BaseModel]
    formats: Callable[[Described], tuple[str, ...]]
    example: dict[str, Any]

    @property
    def path(self) -> str:
        return f"/v1/models/{{name}}/{self.name}"

    def is_served_by(self, model: Described) -> bool:
        return model.offers(*self.needs)

    @property
    def described(self) -> dict[str, Any]:
        """What FastAPI's decorator is told, for the OpenAPI document."""
        reference = {"$ref": f"#/components/schemas/{self.request.__name__}"}
        media = {"schema": reference}
        return {
            "summary": self.summary,
            "operation_id": self.name,
            "tags": ["operations"],
            "response_model": self.answer,
            "responses": problems(*ERRORS),
            "openapi_extra": {
                "requestBody": {
                    "content": {
                        "application/json": {**media, "example": self.example},
                        "multipart/form-data": media,
                    }
                }
            },
        }


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for the OpenAPI document."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {
        status: {"description": "A problem.", "content": {PROBLEM_TYPE: {"schema": schema}}}
        for status in statuses
    }


def operations_of(model: Described, operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """Those that a model serves."""
    return tuple(each for each in operations if each.is_served_by(model))


def check_served(model: Described, operation: Operation, operations: Iterable[Operation]) -> None:
    """Raises NotServed where the model lacks what the operation needs."""
    if operation.is_served_by(model):
        return
    lacking = [getattr(need, "__name__", "") for need in operation.needs if not model.offers(need)]
    names = [each.name for each in operations_of(model, operations)]
    raise NotServed(
        f"{operation.name} needs a model that is {' and '.join(lacking)}; "
        f"this one serves {', '.join(names)}",
        names,
    )
