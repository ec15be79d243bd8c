"""Numbers that others' implementations gave, as files.

`oracles/FAMILY-CASE.npz` holds the arrays that they were given, `.json` what the reference named in
`source` found of them. A number passes within atol + rtol times its size. Photographs among them
are crops of scikit-learn's sample picture china.jpg (CC BY 2.0, danielbuechele).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

# Arrays and parameters of a case to our numbers, by the names that the reference has for them.
Answer: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], Mapping[str, Any]]


def cases(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def check(path: Path, answers: Mapping[str, Answer]) -> None:
    """That our numbers, those at least that there are, are the reference's."""
    case = json.loads(path.read_text())
    found = answers[case["family"]](dict(np.load(path.with_suffix(".npz"))), case["parameters"])
    wanted = {key: each for key, each in case["expected"].items() if key in found}
    assert wanted
    for key, each in wanted.items():
        own, expected = np.asarray(found[key]), np.asarray(each["value"], dtype=np.float64)
        assert own.shape == expected.shape, key
        assert np.allclose(own, expected, rtol=each["rtol"], atol=each["atol"]), key
