"""Finds metrics by their files: each file of this folder that can be asked for by name has a tuple
`METRICS`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import metrics
from metrics.metric import Metric
from models.errors import UnknownName, nearest


@cache
def all_metrics() -> dict[str, Metric]:
    """Every metric by its name, sorted.

    >>> all_metrics()["frechet_distance"].better
    'lower'
    """
    found: dict[str, Metric] = {}
    for module in pkgutil.iter_modules(metrics.__path__):
        for metric in getattr(importlib.import_module(f"metrics.{module.name}"), "METRICS", ()):
            found[metric.name] = metric
    return dict(sorted(found.items()))


def metric(name: str) -> Metric:
    """
    Raises:
        UnknownName: there is no such metric; the message names the nearest.
    """
    known = all_metrics()
    if name not in known:
        raise UnknownName(f"no such metric{nearest(name, known)}", "metrics")
    return known[name]
