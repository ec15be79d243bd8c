"""Data sets: one file each in `sets/`, found by file name and loaded by `load_data`."""

from training.data.dataset import DataSet, Split
from training.data.preview import preview_grid
from training.data.registry import load, load_data, names

__all__ = ["DataSet", "Split", "load", "load_data", "names", "preview_grid"]
