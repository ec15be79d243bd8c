"""Finds a data set by its name: the file `sets/fashion_mnist.py` is `fashion-mnist`.

A file in `sets/` holds a class `Options` and `load(options, root, progress) -> DataSet`. A name
may carry an argument, as in `hf:cifar10`: the file is `hf.py`, and `cifar10` its option `name`.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import InvalidConfig, UnknownName, nearest
from training.data import sets
from training.data.dataset import DataSet
from training.data.options import DataOptions, read_options
from training.data.progress import Progress, progress_bars

logger = logging.getLogger("latentd.data")

_PROBLEMS_SHOWN = 10


def names() -> list[str]:
    """The names of all data sets, sorted; `hf` takes an argument, `hf:NAME`."""
    found = pkgutil.iter_modules(sets.__path__)
    return sorted(module.name.replace("_", "-") for module in found)


def options_type(name: str) -> type[DataOptions]:
    """The class of a data set's options.

    Raises:
        UnknownName: there is no such data set; the message names the nearest.
    """
    kind: type[DataOptions] = _module(name).Options
    return kind


def load_data(
    name: str,
    options: Mapping[str, object] | None = None,
    data_root: Path | None = None,
    progress: Progress | None = None,
) -> DataSet:
    """Loads a data set, drawing, reading or downloading it as its file says.

    Args:
        name: one of `names()`, or `hf:NAME`.
        options: the data set's options by name; what is left out takes its default.
        data_root: the folder where files are looked for, and downloaded to.
        progress: told how far the work is; None shows Rich bars on a terminal.
    Raises:
        UnknownName, InvalidConfig: the name or an option is wrong.
        DataNotFound, DataCorrupt, DownloadFailed, InvalidPicture: the files are.
    """
    base, colon, argument = name.partition(":")
    given = dict(options or {})
    kind = options_type(base)
    if colon:
        if "name" not in kind.model_fields:
            raise UnknownName(f"data set {base!r} takes nothing after a colon; write {base!r}")
        given.setdefault("name", argument)
        if given["name"] != argument:
            raise InvalidConfig(f"{name!r} and the option 'name' differ; give one", "name")
    return load(base, read_options(kind, given, base), data_root, progress)


def load(
    name: str,
    options: DataOptions,
    data_root: Path | None = None,
    progress: Progress | None = None,
) -> DataSet:
    """`load_data` for options that are already checked."""
    module = _module(name)
    if not isinstance(options, module.Options):
        raise InvalidConfig(
            f"data set {name!r} takes {module.Options.__module__}.Options, "
            f"got {type(options).__module__}.{type(options).__name__}"
        )
    if progress is None:
        with progress_bars() as bars:
            data: DataSet = module.load(options, data_root, bars)
    else:
        data = module.load(options, data_root, progress)
    if data.problems:
        shown = "\n  ".join(data.problems[:_PROBLEMS_SHOWN])
        more = len(data.problems) - _PROBLEMS_SHOWN
        rest = f"\n  and {more} more" if more > 0 else ""
        logger.warning("%s: %d left out:\n  %s%s", name, len(data.problems), shown, rest)
    return data


def _module(name: str) -> Any:
    if name not in names():
        raise UnknownName(f"no data set {name!r}{nearest(name, names())}", "name")
    return importlib.import_module(f"{sets.__name__}.{name.replace('-', '_')}")
