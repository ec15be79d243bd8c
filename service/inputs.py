"""What a request says of pictures and conditions, as tensors that a model takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from models.capabilities import AttributeClassifier
from models.conditions import ConditionSchema
from models.errors import InvalidCondition, InvalidInput, InvalidPicture
from service.calls import Call
from service.fields import BareInputs, Condition, Fit, Inputs
from service.pictures import from_base64, read_picture
from service.work import Classify, Rows


@contextmanager
def within(param: str) -> Iterator[None]:
    """What goes wrong inside is about this field, or about a part of it."""
    try:
        yield
    except InvalidInput as error:
        if error.param is None:
            error.param = param
        elif not error.param.startswith(param):
            error.param = f"{param}.{error.param}"
        raise


def condition_vector(
    call: Call, values: Mapping[str, object] | None, param: str = "condition"
) -> Tensor | None:
    """A condition as the model takes it, shape (1, width); None for a model without.

    Attributes that are left out take their defaults.

    Raises:
        InvalidCondition: there is one and the model takes none, or a value is wrong.
    """
    schema = call.served.schema
    if not schema.attributes:
        if values is not None:
            raise InvalidCondition("this model takes no condition", param)
        return None
    return torch.tensor([_encoded(schema, values or {}, param)], dtype=torch.float32)


def changed(call: Call, y: Tensor, changes: Condition, param: str = "condition") -> Tensor:
    """Condition vectors, shape (B, width), with some attributes set to other values."""
    schema = call.served.schema
    _encoded(schema, changes, param)
    y = y.clone()
    for name, value in changes.items():
        y[:, schema.slices[name]] = torch.tensor(schema.attribute(name).encode(value))
    return y


def _encoded(schema: ConditionSchema, values: Mapping[str, object], param: str) -> list[float]:
    try:
        return schema.encode(values)  # type: ignore[arg-type]
    except InvalidCondition as error:
        error.param = param + (error.param or "").removeprefix("condition")
        raise


def check_one_of(body: BareInputs) -> int:
    """How many pictures or points there are.

    Raises:
        InvalidInput: there are none, or both.
    """
    if (body.pictures is None) == (body.values is None):
        raise InvalidInput("send either pictures or values", "pictures")
    return len(body.pictures or body.values or ())


async def pictures_of(call: Call, body: BareInputs) -> Tensor:
    """The rows that come in, (B, C, H, W) in [0, 1] or (B, D).

    Raises:
        InvalidPicture: one cannot be read; `param` says which.
    """
    count = check_one_of(body)
    call.check_rows(count, "pictures" if body.values is None else "values")
    if body.values is not None:
        names = [f"values[{index}]" for index in range(count)]
        return torch.cat(
            [point_row(call, row, name) for row, name in zip(body.values, names, strict=True)]
        )
    texts = body.pictures or []
    return await call.in_thread(lambda: picture_rows(call, texts, body.fit, "pictures"))


def point_row(call: Call, values: Sequence[float], param: str) -> Tensor:
    """A data point as a row, shape (1, D)."""
    if call.served.has_pictures:
        raise InvalidInput("this model is about pictures; send those", param)
    if len(values) != call.served.shape[0]:
        raise InvalidInput(
            f"expected {call.served.shape[0]} numbers, got {len(values)}",
            param,
        )
    return torch.tensor([values], dtype=torch.float32)


def picture_rows(call: Call, texts: Sequence[str], fit: Fit | None, param: str) -> Tensor:
    """Picture files as rows, shape (B, C, H, W)."""
    found = [picture_row(call, text, fit, f"{param}[{index}]") for index, text in enumerate(texts)]
    return torch.cat(found)


def picture_row(call: Call, text: str, fit: Fit | None, param: str) -> Tensor:
    """A picture as a row, shape (1, C, H, W)."""
    if not call.served.has_pictures:
        raise InvalidPicture("this model is about points; send values", param)
    content = from_base64(text, param)
    return read_picture(content, call.served.shape, fit, call.budget, param)[None]


async def attributes_of(
    call: Call, x: Tensor, known: Condition | list[Condition] | None, names: Sequence[str]
) -> Tensor | None:
    """The condition vectors of pictures, (B, width): what is known, the rest predicted.

    Args:
        known: of all pictures, or of each.
        names: what the caller calls what is known of each picture.
    Raises:
        InvalidCondition: the model takes none, or cannot predict what is left out.
    """
    schema = call.served.schema
    if not schema.attributes:
        if known is not None:
            raise InvalidCondition("this model takes no attributes", names[0])
        return None
    if isinstance(known, list) and len(known) != len(x):
        raise InvalidCondition(
            f"expected the attributes of all or of each of {len(x)} pictures, got {len(known)}",
            "attributes",
        )
    each = known if isinstance(known, list) else [known or {}] * len(x)
    for values, name in zip(each, names, strict=True):
        _encoded(schema, values, name)
        if missing := [attribute for attribute in schema.names if attribute not in values]:
            _check_can_predict(call, missing, name)
    y = torch.zeros(len(x), schema.width)
    if call.served.offers(AttributeClassifier) and any(len(v) < len(schema.names) for v in each):
        y = (await call.run(Classify(), Rows(len(x), {"x": x})))["y"]
    rows = [
        changed(call, row[None], values, name)
        for row, values, name in zip(y, each, names, strict=True)
    ]
    return torch.cat(rows)


def _check_can_predict(call: Call, missing: Sequence[str], param: str) -> None:
    if not call.served.offers(AttributeClassifier):
        raise InvalidCondition(
            "this model cannot tell the attributes of a picture; give all of them, also "
            + ", ".join(missing),
            param,
        )


def names_of_attributes(body: Inputs, count: int) -> list[str]:
    """What the caller calls the attributes of each picture."""
    if isinstance(body.attributes, list):
        return [f"attributes[{index}]" for index in range(count)]
    return ["attributes"] * count


def names_of_inputs(body: BareInputs) -> tuple[str, ...]:
    """What the caller calls each row."""
    kind = "pictures" if body.values is None else "values"
    return tuple(f"{kind}[{index}]" for index in range(len(body.pictures or body.values or ())))
