"""CelebA: 202,599 aligned faces with 40 boolean attributes (Liu et al., 2015).

`img_align_celeba/` and `list_attr_celeba.txt` (or the `.csv` of other copies) stand in the data
root or in its folder `celeba`. The licence forbids passing the pictures on, so they are never
downloaded. With `list_eval_partition.txt` the official splits are used, else the digest's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.conditions import Boolean, ConditionSchema
from models.errors import InvalidPicture
from training.data.attribute_columns import attribute_name
from training.data.dataset import DataSet, Split
from training.data.errors import DataCorrupt, DataNotFound
from training.data.options import SplitOptions
from training.data.picture_files import OnError, read_pictures, refuse_problems
from training.data.pictures import MAXIMUM_PIXELS
from training.data.progress import Progress
from training.data.splits import split_by_digest

_PICTURES = "img_align_celeba"


class Options(SplitOptions):
    size: Annotated[int, Field(ge=8, le=218)] = 64
    limit: Annotated[int, Field(ge=1)] | None = None  # the first so many pictures
    on_error: OnError = "skip"


def load(options: Options, root: Path | None, progress: Progress) -> DataSet:
    """Pictures (N, 3, size, size): the middle square, reduced; 40 boolean attributes."""
    folder = _folder(root)
    names, files, table = _read_attributes(folder)
    files, table = files[: options.limit], table[: options.limit]
    values, places, problems = read_pictures(
        [folder / _PICTURES / file for file in files],
        files,
        options.size,
        "crop",
        3,
        MAXIMUM_PIXELS,
        progress,
    )
    refuse_problems(str(folder), problems, options.on_error)
    if not len(values):
        raise InvalidPicture(f"{folder / _PICTURES}: not one picture can be read; {problems[0]}")
    samples = Split(values, None, table[places])
    partition = _read_partition(folder)
    if partition is None:
        splits = split_by_digest(samples, options.validation_fraction, options.test_fraction)
    else:
        part = np.array([partition.get(files[place], -1) for place in places])
        splits = samples.take(part == 0), samples.take(part == 1), samples.take(part == 2)
        lost = [files[places[row]] for row in np.flatnonzero(part == -1)]
        problems += [f"{file}: in no split of list_eval_partition.txt" for file in lost]
    schema = ConditionSchema(attributes=tuple(Boolean(name=name) for name in names))
    licence = "non-commercial research only, see mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    source = "CelebA, aligned and cropped"
    return DataSet("celeba", *splits, None, schema, licence, source, tuple(problems))


def _folder(root: Path | None) -> Path:
    bases = [] if root is None else [root, root / "celeba"]
    for base in bases:
        if (base / _PICTURES).is_dir():
            return base
    looked = " or ".join(map(str, bases)) or "no folder: there is no data root"
    raise DataNotFound(
        f"data set 'celeba' needs {_PICTURES}/ and list_attr_celeba.txt; looked in {looked}; "
        "get them from mmlab.ie.cuhk.edu.hk/projects/CelebA.html and give the data root"
    )


def _read_attributes(folder: Path) -> tuple[list[str], list[str], NDArray[np.float32]]:
    """Names of the attributes, the picture files, and 0 or 1 for each, shape (N, A)."""
    lines = _rows(folder, "list_attr_celeba")
    if lines is None:
        raise DataNotFound(f"{folder} lacks list_attr_celeba.txt; put it beside {_PICTURES}/")
    # The text file begins with the number of rows; the CSV file's heading with `image_id`.
    heading = lines[1] if len(lines[0]) == 1 else lines[0][1:]
    rows = lines[2:] if len(lines[0]) == 1 else lines[1:]
    for row in rows:
        if len(row) != len(heading) + 1 or not set(row[1:]) <= {"1", "-1", "0"}:
            raise DataCorrupt(
                f"list_attr_celeba: expected a file and {len(heading)} values 1 or -1, "
                f"got {' '.join(row)[:80]!r}"
            )
    names = [attribute_name(name.replace("5_o", "five_o")) for name in heading]
    table = np.array([[float(value == "1") for value in row[1:]] for row in rows], np.float32)
    return names, [row[0] for row in rows], table


def _read_partition(folder: Path) -> dict[str, int] | None:
    rows = _rows(folder, "list_eval_partition")
    if rows is None:
        return None
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1] in ("0", "1", "2")}


def _rows(folder: Path, name: str) -> list[list[str]] | None:
    for path in (folder / f"{name}.txt", folder / f"{name}.csv"):
        if path.is_file():
            text = path.read_text("utf-8", errors="replace").replace(",", " ")
            rows = [line.split() for line in text.splitlines() if line.strip()]
            if len(rows) < 2:
                raise DataCorrupt(f"{path} has {len(rows)} lines; get it again")
            return rows
    return None
