"""Attributes from text: what kind a column is, and the numbers it becomes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.conditions import Attribute, Boolean, Categorical, Continuous
from models.errors import InvalidConfig

_TRUTH = {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}
_MOST_CATEGORIES = 100


def attribute_name(text: str) -> str:
    """A heading as the name of an attribute: lower case, digits and underscores.

    >>> attribute_name("5_o_Clock_Shadow"), attribute_name("Hair colour")
    ('n5_o_clock_shadow', 'hair_colour')
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")
    if not name:
        raise InvalidConfig(f"the heading {text!r} has no letter or digit to name an attribute by")
    return (name if name[0].isalpha() else f"n{name}")[:64]


def read_column(name: str, texts: Sequence[str]) -> tuple[Attribute, NDArray[np.float32]]:
    """The attribute that a column of texts is, and its values (N,) in the attribute's unit.

    Words of truth are boolean, numbers continuous (with the range that occurs), few other texts
    categorical, in alphabetical order.

    Raises:
        InvalidConfig: a column of one value only, or of too many different texts.
    """
    cleaned = [text.strip() for text in texts]
    lowered = [text.lower() for text in cleaned]
    if all(text in _TRUTH for text in lowered):
        return Boolean(name=name), np.array([_TRUTH[text] for text in lowered], np.float32)
    numbers = [_number(text) for text in cleaned]
    if not any(number is None for number in numbers):
        column = np.array(numbers, np.float32)
        low, high = float(column.min()), float(column.max())
        if low == high:
            raise InvalidConfig(f"attribute {name!r} is {low:g} everywhere; leave the column out")
        middle = low + (high - low) / 2
        return Continuous(name=name, minimum=low, maximum=high, default=middle), column
    values = sorted(set(cleaned))
    if not 2 <= len(values) <= _MOST_CATEGORIES:
        raise InvalidConfig(
            f"attribute {name!r} has {len(values)} different texts; expected 2 to "
            f"{_MOST_CATEGORIES}, or numbers only; leave the column out or mend it"
        )
    places = np.array([values.index(text) for text in cleaned], np.float32)
    return Categorical(name=name, values=tuple(values)), places


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) < 1e30 else None
