"""Makes a loaded model's networks quicker without changing what they compute.

Batch normalisation in evaluation is an affine map, which the convolution before it can do as well
(Jacob et al., 2018, arXiv:1712.05877, section 3.2). On a CPU a transposed convolution is given its
weights in the order that oneDNN works in, which else is made anew in every pass, and does the ReLU
after it on the way. One whose input is a single pixel (the first layer of a generator), and one of
few output channels (the last), are matrix products. Products of few rows are made with some more,
so that a row comes out the same in batches of every size (see `service/plans.py`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.family import Family, FamilyConfig

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
FEW_CHANNELS = 4
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
    """A transposed convolution, perhaps with a ReLU after it, in the quickest of three ways."""

    _packed: Tensor | None

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.layer = layer
        self.has_relu = False
        # A buffer, so that it is counted among the model's bytes.
        self.register_buffer("_packed", None, persistent=False)
        self._form: tuple[Any, ...] = (
            list(layer.padding),
            list(layer.output_padding),
            list(layer.stride),
            list(layer.dilation),
            layer.groups,
        )
        padding = (int(layer.padding[0]), int(layer.padding[1]))
        self._geometry = (layer.stride, padding, layer.kernel_size)
        is_plain = layer.groups == 1 and layer.output_padding == (0, 0)
        self._grows_pixels = is_plain and layer.padding == (0, 0)
        self._has_few_outputs = is_plain and layer.out_channels <= FEW_CHANNELS

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or x.dtype != torch.float32:
            # The quick operator has no gradient.
            y: Tensor = self.layer(x)
            return y.relu() if self.has_relu else y
        if self._grows_pixels and x.shape[2:] == (1, 1):
            return self._finished(self._product(x))
        if self._has_few_outputs:
            return self._finished(self._folded(x))
        if self._packed is None:
            reorder = torch.ops.mkldnn._reorder_convolution_transpose_weight.default
            self._packed = reorder(self.layer.weight, *self._form, list(x.shape))
        activation = "relu" if self.has_relu else "none"
        convolve = torch.ops.mkldnn._convolution_transpose_pointwise.default
        bias = self.layer.bias
        z: Tensor = convolve(x, self._packed, bias, *self._form, activation, [], "")
        return z

    def _product(self, x: Tensor) -> Tensor:
        """Of single pixels: each place of the output has its own columns of weights."""
        inputs, *shape = self.layer.weight.shape
        y = _enough_rows(x.flatten(1)) @ self.layer.weight.reshape(inputs, -1)
        return y[: len(x)].reshape(len(x), *shape)

    def _folded(self, x: Tensor) -> Tensor:
        """What each pixel adds to its neighbourhood, as one product, then added up. oneDNN works on
        eight output channels at least, of which a picture has three."""
        layer = self.layer
        pieces = layer.weight.flatten(1).T @ x.flatten(2)
        size = [
            (side - 1) * stride - 2 * padding + kernel
            for side, stride, padding, kernel in zip(x.shape[2:], *self._geometry, strict=True)
        ]
        stride, padding, kernel = self._geometry
        return F.fold(pieces, (size[0], size[1]), kernel, padding=padding, stride=stride)

    def _finished(self, y: Tensor) -> Tensor:
        if self.layer.bias is not None:
            y = y + self.layer.bias[:, None, None]
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
