"""The command line that every check has: `--quick`, and a flag for each part of its size."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from verify.serving.findings import Findings

S = TypeVar("S")


def run(check: Callable[[S], Findings], full: S, quick: S) -> None:
    """Print what a check finds; end with 1 where a promise is broken."""
    findings = check(_read_size(full, quick))
    print(findings.markdown())
    sys.exit(0 if findings.hold else 1)


def _read_size(full: S, quick: S) -> S:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a size that ends in seconds")
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(full)  # type: ignore[arg-type]
    for field in fields:
        known = getattr(full, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        if isinstance(known, tuple):
            parser.add_argument(flag, type=type(known[0]), nargs="+")
        else:
            parser.add_argument(flag, type=type(known))
    given = vars(parser.parse_args())
    size = quick if given.pop("quick") else full
    changes = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }
    return dataclasses.replace(size, **changes)  # type: ignore[type-var]
