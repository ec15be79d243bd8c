"""Any picture data set of the Hugging Face hub, or a local folder of one: `hf:NAME`.

Needs the package `datasets`. No code of the data set is run. Labels come from its ClassLabel
column; a hub split for validation or test is used where there is one, else carved by digest.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from models.errors import InvalidConfig, InvalidPicture, nearest
from training.data.dataset import DataSet, Split
from training.data.errors import DownloadFailed, MissingPackage
from training.data.options import SplitOptions
from training.data.picture_files import OnError, read_pictures, refuse_problems
from training.data.pictures import MAXIMUM_PIXELS, Fit
from training.data.progress import Progress
from training.data.splits import split_by_digest

_VALIDATION_NAMES = ("validation", "valid", "val", "dev")


class Options(SplitOptions):
    name: Annotated[str, Field(min_length=1)]  # what stands after `hf:`
    config: str | None = None
    train_split: str = "train"
    validation_split: str | None = None  # None: the hub's where it has one, else by digest
    test_split: str | None = None
    image_column: str | None = None  # None: the first of the kind
    label_column: str | None = None
    size: Annotated[int, Field(ge=1, le=4096)] = 64
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    limit: Annotated[int, Field(ge=1)] | None = None  # the first so many of each split
    on_error: OnError = "skip"


def load(options: Options, root: Path | None, progress: Progress) -> DataSet:
    """Pictures (N, channels, size, size), and classes where there is a ClassLabel column."""
    if importlib.util.find_spec("datasets") is None:
        raise MissingPackage(
            "data set 'hf' needs the package datasets; run pip install 'latentd[hub]'"
        )
    hub = _open(options, root)
    train_name = _split_name(hub, options.train_split, "train_split")
    features = hub[train_name].features
    image_column = _column(features, options.image_column, "Image", "image_column")
    label_column = _column(features, options.label_column, "ClassLabel", "label_column")
    if image_column is None:
        raise InvalidConfig(
            f"{options.name!r} has no column of pictures; its columns: {', '.join(features)}"
        )
    classes = None if label_column is None else tuple(features[label_column].names)
    problems: list[str] = []

    def read(split: str) -> Split:
        samples, bad = _read(hub[split], split, image_column, label_column, options, progress)
        problems.extend(bad)
        return samples

    train = read(train_name)
    validation_name = _other_split(hub, options.validation_split, _VALIDATION_NAMES)
    test_name = _other_split(hub, options.test_split, ("test",))
    train, validation, test = split_by_digest(
        train,
        0.0 if validation_name else options.validation_fraction,
        0.0 if test_name else options.test_fraction,
    )
    validation = read(validation_name) if validation_name else validation
    test = read(test_name) if test_name else test
    refuse_problems(options.name, problems, options.on_error)
    if not len(train):
        raise InvalidPicture(f"{options.name!r}: not one training picture can be read")
    info = hub[train_name].info
    return DataSet(
        "hf",
        train,
        validation,
        test,
        classes,
        None,
        info.license or "not stated, see the data set's card",
        f"Hugging Face data set {Path(options.name).name}",
        tuple(problems),
    )


def _open(options: Options, root: Path | None) -> Any:
    """A DatasetDict: of a local folder where the name is one, else of the hub."""
    import datasets

    local = (root or Path()) / options.name
    name = str(local) if local.is_dir() else options.name
    try:
        return datasets.load_dataset(name, options.config)
    except Exception as error:
        # The package raises its own, the hub's, httpx's and ValueError, as the mood takes it.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise DownloadFailed(
            f"{options.name!r} could not be loaded from the Hugging Face hub{offline}: {reason}"
        ) from error


def _read(
    part: Any,
    split: str,
    image_column: str,
    label_column: str | None,
    options: Options,
    progress: Progress,
) -> tuple[Split, list[str]]:
    import datasets

    if options.limit is not None:
        part = part.select(range(min(options.limit, len(part))))
    # Undecoded, so that a broken or huge picture meets our checks and not a traceback.
    part = part.cast_column(image_column, datasets.Image(decode=False))
    sources = [_bytes(entry) for entry in part[image_column]]
    values, places, problems = read_pictures(
        sources,
        [f"{split}, row {row}" for row in range(len(sources))],
        options.size,
        options.fit,
        options.channels,
        MAXIMUM_PIXELS,
        progress,
    )
    if label_column is None:
        return Split(values), problems
    labels = np.array([-1 if label is None else label for label in part[label_column]], np.int64)
    labels = labels[places]
    known = labels >= 0  # the hub writes -1 where a test label is kept secret
    problems += [f"{split}, row {places[row]}: no label" for row in np.flatnonzero(~known)]
    return Split(values[known], labels[known]), problems


def _bytes(entry: dict[str, Any] | None) -> bytes:
    if entry is None:
        return b""
    if entry.get("bytes") is not None:
        return bytes(entry["bytes"])
    path = Path(entry.get("path") or "")
    return path.read_bytes() if path.is_file() else b""


def _column(features: Any, wanted: str | None, kind: str, param: str) -> str | None:
    of_kind = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if wanted is None:
        return of_kind[0] if of_kind else None
    if wanted not in of_kind:
        raise InvalidConfig(f"no {kind} column {wanted!r}{nearest(wanted, of_kind)}", param)
    return wanted


def _split_name(hub: Any, wanted: str, param: str) -> str:
    if wanted not in hub:
        raise InvalidConfig(f"no split {wanted!r}{nearest(wanted, hub)}", param)
    return wanted


def _other_split(hub: Any, wanted: str | None, usual: tuple[str, ...]) -> str | None:
    if wanted is not None:
        return _split_name(hub, wanted, "split")
    return next((name for name in usual if name in hub), None)
