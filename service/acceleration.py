"""Makes a loaded model's networks quicker without changing what they compute.

Batch normalisation in evaluation is an affine map, which the convolution before it can do as well
(Jacob et al., 2018, arXiv:1712.05877, section 3.2). On a CPU a transposed convolution is given its
weights in the order that oneDNN works in, which else is made anew in every pass, and does the ReLU
after it on the way; and one whose input is a single pixel, as in the first layer of a generator,
is a matrix product. Products of few rows are made with some more, so that a row comes out the same
in batches of every size (see `service/plans.py`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.family import Family, FamilyConfig

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
FEWEST_ROWS = 4  # of a matrix product; below, BLAS has other kernels, which round differently
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def accelerate(model: Family[FamilyConfig], device: torch.device) -> None:
    """Change a model in place. It can be asked everything as before, but no longer be saved."""
    for sequence in [each for each in model.modules() if isinstance(each, nn.Sequential)]:
        layers = _folded(list(sequence))
        if device.type == "cpu" and _has_packing():
            layers = _packed(layers)
        del sequence[:]
        sequence.extend(layers)
    if device.type == "cpu":
        _guard_products(model)


def _folded(layers: list[nn.Module]) -> list[nn.Module]:
    """Without the batch normalisations that follow a convolution."""
    found: list[nn.Module] = []
    for layer in layers:
        before = found[-1] if found else None
        if isinstance(layer, NORMALISATIONS) and isinstance(before, CONVOLUTIONS + TRANSPOSED):
            is_transposed = isinstance(before, TRANSPOSED)
            found[-1] = fuse_conv_bn_eval(before, layer, is_transposed).requires_grad_(False)
        else:
            found.append(layer)
    return found


def _packed(layers: list[nn.Module]) -> list[nn.Module]:
    found: list[nn.Module] = []
    for layer in layers:
        before = found[-1] if found else None
        if isinstance(layer, nn.ConvTranspose2d) and layer.dilation == (1, 1):
            found.append(PackedTransposed(layer))
        elif isinstance(layer, nn.ReLU) and isinstance(before, PackedTransposed):
            before.has_relu = True
        else:
            found.append(layer)
    return found


def _guard_products(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, GuardedLinear(child))
        else:
            _guard_products(child)


def _has_packing() -> bool:
    """Whether this build of torch has oneDNN's operators for packed weights."""
    names = ("_reorder_convolution_transpose_weight", "_convolution_transpose_pointwise")
    return torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
        hasattr(torch.ops.mkldnn, name) for name in names
    )


class PackedTransposed(nn.Module):
    """A transposed convolution whose weights lie as oneDNN wants them, perhaps with a ReLU."""

    _packed: Tensor | None

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.layer = layer
        self.has_relu = False
        # A buffer, so that it is counted among the model's bytes.
        self.register_buffer("_packed", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.dtype != torch.float32:
            # The quick operator has no gradient.
            y: Tensor = self.layer(x)
            return y.relu() if self.has_relu else y
        layer = self.layer
        is_grown = layer.padding == (0, 0) and layer.output_padding == (0, 0) and layer.groups == 1
        if x.shape[2:] == (1, 1) and is_grown:
            return self._product(x)
        form: tuple[Any, ...] = (
            list(layer.padding),
            list(layer.output_padding),
            list(layer.stride),
            list(layer.dilation),
            layer.groups,
        )
        operators = torch.ops.mkldnn
        if self._packed is None:
            reorder = operators._reorder_convolution_transpose_weight
            self._packed = reorder(layer.weight, *form, list(x.shape))
        activation = "relu" if self.has_relu else "none"
        convolve = operators._convolution_transpose_pointwise
        packed: Tensor = convolve(x, self._packed, layer.bias, *form, activation, [], "")
        return packed

    def _product(self, x: Tensor) -> Tensor:
        """Of a single pixel: each of the outputs' places has its own column of weights."""
        layer = self.layer
        inputs, outputs, height, width = layer.weight.shape
        y = _enough_rows(x.flatten(1)) @ layer.weight.reshape(inputs, -1)
        y = y[: len(x)].reshape(len(x), outputs, height, width)
        if layer.bias is not None:
            y = y + layer.bias[:, None, None]
        return y.relu_() if self.has_relu else y


class GuardedLinear(nn.Module):
    """A linear layer that gives a row the same bytes in small batches as in large ones."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(_enough_rows(x))[: len(x)]
        return y


def _enough_rows(x: Tensor) -> Tensor:
    """At least as many rows as make BLAS take the kernel that it takes for many."""
    missing = FEWEST_ROWS - len(x)
    if x.dim() != 2 or missing <= 0:
        return x
    return torch.cat([x, x[-1:].expand(missing, -1)])
