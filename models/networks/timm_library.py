"""The library timm, which is needed for networks of its own alone."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any

import torch

from models.errors import NotSupported

# Operators that torchvision describes to torch as soon as it is imported.
DESCRIBED = ("nms", "qnms")
_described: list[Any] = []  # what is declared lasts as long as this holds it


def timm_library() -> ModuleType:
    """timm itself.

    Raises:
        NotSupported: it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its own imports are not ours to mend
        try:
            return _imported()
        except ImportError as error:
            raise NotSupported(
                f"networks of timm need it installed: pip install 'latentd[timm]' ({error})"
            ) from error


def _imported() -> ModuleType:
    """timm imports torchvision for reading pictures. Beside torch without CUDA, a torchvision that
    was built for CUDA cannot load its own operators, and fails where it describes them. timm uses
    none of them: declared without an implementation, they can be described."""
    try:
        return importlib.import_module("timm")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _described:
            raise
    make: Any = torch.library.Library
    library = make("torchvision", "FRAGMENT")
    for name in DESCRIBED:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _described.append(library)
    return importlib.import_module("timm")
