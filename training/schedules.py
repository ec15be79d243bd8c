"""How the learning rate goes with time, as a factor of the one that the recipe gives."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

Schedule: TypeAlias = Literal["constant", "cosine", "linear", "exponential"]

EXPONENTIAL_END = 0.01


def rate_factor(schedule: Schedule, step: int, steps: int, warm_up_steps: int = 0) -> float:
    """The factor at a step, counted from 0, of a run of `steps`.

    It rises in a straight line over the warm-up, then falls from 1 towards 0 (cosine, linear) or
    0.01 (exponential), which it would reach one step after the last.

    >>> [rate_factor("linear", step, 4) for step in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    >>> rate_factor("cosine", 5, 10), rate_factor("constant", 1, 10, warm_up_steps=4)
    (0.5, 0.5)
    """
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    share = (step - warm_up_steps) / max(1, steps - warm_up_steps)
    if schedule == "cosine":
        return round((1 + math.cos(math.pi * share)) / 2, 12)
    if schedule == "linear":
        return 1 - share
    if schedule == "exponential":
        return math.pow(EXPONENTIAL_END, share)
    return 1.0
