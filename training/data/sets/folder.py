"""Any tree of pictures: classes by first sub-folder, attributes by a CSV file.

With `attributes_csv` (beside the pictures, or a path of its own) the column `file` has each
picture's path below the folder, with slashes, and every other column is an attribute. Files that
cannot be used are left out and listed in `problems`, or refused together.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.conditions import Attribute, ConditionSchema
from models.errors import InvalidConfig, InvalidPicture
from training.data.attribute_columns import attribute_name, read_column
from training.data.dataset import DataSet, Split
from training.data.errors import DataNotFound
from training.data.options import SplitOptions
from training.data.picture_files import OnError, read_pictures, refuse_problems
from training.data.pictures import MAXIMUM_PIXELS, Fit
from training.data.progress import Progress
from training.data.splits import split_by_digest

Table = dict[str, dict[str, str]]  # file -> column -> text

_BESIDE = "stands beside the class folders, so it has no class"


class Options(SplitOptions):
    path: Path | None = None  # None: the data root itself
    size: Annotated[int, Field(ge=1, le=4096)] = 64
    fit: Fit = "crop"
    channels: Literal[1, 3] = 3
    attributes_csv: Path | None = None
    on_error: OnError = "skip"
    maximum_pixels: Annotated[int, Field(ge=1)] = MAXIMUM_PIXELS
    licence: str = "not stated"


def load(options: Options, root: Path | None, progress: Progress) -> DataSet:
    """Pictures (N, channels, size, size), in the order of their sorted paths."""
    folder = _folder(options.path, root)
    files = _files_below(folder)
    problems: list[str] = []
    table, csv_path = _read_table(folder, options.attributes_csv)
    if csv_path is not None:
        files = [name for name in files if (folder / name).resolve() != csv_path.resolve()]
        problems += [f"{name}: in the CSV file only" for name in sorted(table.keys() - set(files))]
        problems += [f"{name}: not in the CSV file" for name in files if name not in table]
        files = [name for name in files if name in table]
    printable = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in files]
    values, places, unreadable = read_pictures(
        [folder / name for name in files],
        printable,
        options.size,
        options.fit,
        options.channels,
        options.maximum_pixels,
        progress,
    )
    problems += unreadable
    classes, chosen, labels = _classes([printable[place] for place in places])
    if classes is not None:
        outside = np.setdiff1d(np.arange(len(places)), chosen)
        problems += [f"{printable[places[place]]}: {_BESIDE}" for place in outside]
    refuse_problems(str(folder), problems, options.on_error)
    values, places = values[chosen], places[chosen]
    if not len(values):
        listed = "".join(f"\n  {problem}" for problem in problems[:5])
        raise InvalidPicture(f"{folder}: there is no picture that can be used{listed}", "path")
    schema, attributes = _attributes([table.get(files[place], {}) for place in places])
    splits = split_by_digest(
        Split(values, labels, attributes), options.validation_fraction, options.test_fraction
    )
    source = f"folder {folder.resolve().name}"
    return DataSet("folder", *splits, classes, schema, options.licence, source, tuple(problems))


def _folder(path: Path | None, root: Path | None) -> Path:
    if path is None and root is None:
        raise InvalidConfig("data set 'folder' needs the option 'path', or a data root", "path")
    folder = (root or Path()) / (path or Path())
    if not folder.is_dir():
        raise DataNotFound(f"{folder} is no folder; give the folder of the pictures", "path")
    return folder


def _files_below(folder: Path) -> list[str]:
    """Paths below the folder, with slashes, sorted; hidden ones are left out."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(folder)
        found += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def _classes(
    names: list[str],
) -> tuple[tuple[str, ...] | None, NDArray[np.int64], NDArray[np.int64] | None]:
    """Class names, which pictures have one, and their class indices.

    None where there are fewer than two first sub-folders: then all pictures are of one kind.
    """
    folders = [name.partition("/")[0] if "/" in name else None for name in names]
    classes = sorted({folder for folder in folders if folder is not None})
    if len(classes) < 2:
        return None, np.arange(len(names)), None
    numbers = {name: number for number, name in enumerate(classes)}
    chosen = [place for place, folder in enumerate(folders) if folder is not None]
    labels = [numbers[folder] for folder in folders if folder is not None]
    return tuple(classes), np.array(chosen, np.int64), np.array(labels, np.int64)


def _read_table(folder: Path, path: Path | None) -> tuple[Table, Path | None]:
    if path is None:
        return {}, None
    path = folder / path
    param = "attributes_csv"
    if not path.is_file():
        raise DataNotFound(f"{path} is no file; give the CSV file of the attributes", param)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidConfig(f"{path} is no CSV file in UTF-8: {error}", param) from None
    table: Table = {}
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InvalidConfig(f"{path}, row {number}: not as many fields as headings", param)
        name = row.pop("file", None)
        if name is None:
            headings = ", ".join(row)
            raise InvalidConfig(f"{path}: expected a column 'file', got {headings}", param)
        if name in table:
            raise InvalidConfig(f"{path}, row {number}: {name!r} stands there twice", param)
        table[name] = row
    return table, path


def _attributes(
    rows: list[dict[str, str]],
) -> tuple[ConditionSchema | None, NDArray[np.float32] | None]:
    if not rows or not rows[0]:
        return None, None
    attributes: list[Attribute] = []
    columns = []
    for heading in rows[0]:
        attribute, column = read_column(attribute_name(heading), [row[heading] for row in rows])
        attributes.append(attribute)
        columns.append(column)
    names = [attribute.name for attribute in attributes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InvalidConfig(f"headings that name the same attribute: {', '.join(twice)}")
    return ConditionSchema(attributes=tuple(attributes)), np.stack(columns, axis=1)
