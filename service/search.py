"""The nearest of many rows: Euclidean distance between vectors, Hamming distance between codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EXACT_MOST = 100_000  # vectors that are all looked at
BLOCK = 2**18  # numbers that are widened at a time: they stay in a cache
KEPT = 2**22  # distances that are kept at a time
PROBED = 8  # one in so many lists of an index is looked into
TRAINING_ROWS = 64  # for the middle of each list


@dataclass(frozen=True)
class Nearest:
    """The k nearest of each of Q queries, the nearest first, ties in order of index.

    indices int64 (Q, k), distances float64 (Q, k); k is the number of rows where there are fewer.
    """

    indices: Tensor
    distances: Tensor


class Search(Protocol):
    """Rows that can be searched. Several threads may do so at once."""

    @property
    def count(self) -> int: ...

    @property
    def is_exact(self) -> bool:
        """Whether none of the nearest is ever missed."""

    def nearest(self, queries: Tensor, k: int) -> Nearest: ...


class VectorSearch:
    """By Euclidean distance.

    Up to EXACT_MOST rows are all compared: in float32, and those whose order that leaves open once
    more in float64. Beyond, an inverted file (Jegou et al., 2011, "Product quantization for
    nearest neighbor search", section IV, without the quantization) chooses whom to compare.

    Args:
        rows: (N, D), float32, or uint8 for whole numbers.
        unit: the distances are multiplied by it.
    """

    def __init__(self, rows: Tensor, unit: float = 1.0) -> None:
        self._rows, self._unit = rows, unit
        self._lists = None if len(rows) <= EXACT_MOST else _inverted_file(rows)
        if self._lists is None:
            lengths = [block.float().square().sum(dim=1) for block in self._blocks()]
            self._lengths = torch.cat(lengths) if lengths else rows.new_zeros(0).float()

    @property
    def count(self) -> int:
        return len(self._rows)

    @property
    def is_exact(self) -> bool:
        return self._lists is None

    def nearest(self, queries: Tensor, k: int) -> Nearest:
        """Of queries (Q, D), of any type of numbers."""
        k = min(k, self.count)
        at_once = max(KEPT // max(self.count, 1), 1)
        found = [self._nearest(part, k) for part in torch.split(queries, at_once)] if k else []
        if not found:
            return Nearest(
                torch.zeros(len(queries), 0, dtype=torch.int64),
                torch.zeros(len(queries), 0, dtype=torch.float64),
            )
        return Nearest(
            torch.cat([each.indices for each in found]),
            torch.cat([each.distances for each in found]),
        )

    def _nearest(self, queries: Tensor, k: int) -> Nearest:
        if self._lists is None:
            chosen = self._screened(queries.float(), k)
        else:
            chosen = _probed(self._lists, queries.float(), k)
        settled = [self._settled(q, rows, k) for q, rows in zip(queries, chosen, strict=True)]
        return Nearest(
            torch.stack([indices for indices, _ in settled]),
            torch.stack([distances for _, distances in settled]),
        )

    def _screened(self, queries: Tensor, k: int) -> list[Tensor]:
        """For each query the rows, in order, among which the k nearest surely are."""
        dimensions = queries.shape[1]
        squares = queries.square().sum(dim=1)
        products = torch.cat([queries @ block.float().T for block in self._blocks()], dim=1)
        distances = squares[:, None] + self._lengths - 2 * products
        # Higham, "Accuracy and stability of numerical algorithms", section 3.1: so far may a sum of
        # so many products be off, and each of two that are compared.
        error = (dimensions + 4) * torch.finfo(torch.float32).eps
        margin = 2 * error * (squares.sqrt() + self._lengths.max().sqrt()).square()
        worst = distances.kthvalue(k, dim=1).values + margin
        return [row.nonzero()[:, 0] for row in distances <= worst[:, None]]

    def _blocks(self) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = torch.split(
            self._rows, max(BLOCK // max(self._rows.shape[1], 1), 1)
        )
        return found

    def _settled(self, query: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k nearest of some rows (in order) and their distances."""
        wanted = query.double()
        distances = torch.cat(
            [
                (self._rows[part].double() - wanted).square().sum(dim=1).sqrt()
                for part in torch.split(rows, max(BLOCK // max(len(query), 1), 1))
            ]
        )
        distances, order = distances.sort(stable=True)
        return rows[order[:k]], distances[:k] * self._unit


def _inverted_file(rows: Tensor) -> Any:
    count, dimensions = rows.shape
    lists = math.isqrt(count)
    middles = faiss.IndexFlatL2(dimensions)
    if rows.dtype == torch.uint8:  # kept as they are, in a quarter of the memory
        kind = faiss.ScalarQuantizer.QT_8bit_direct
        index: Any = faiss.IndexIVFScalarQuantizer(
            middles, dimensions, lists, kind, faiss.METRIC_L2, False
        )
    else:
        index = faiss.IndexIVFFlat(middles, dimensions, lists, faiss.METRIC_L2)
    faiss.omp_set_num_threads(1)
    index.train(rows[:: max(count // (TRAINING_ROWS * lists), 1)].float().numpy())
    for block in torch.split(rows, max(BLOCK // dimensions, 1)):
        index.add(block.float().numpy())
    return index


def _probed(index: Any, queries: Tensor, k: int) -> list[Tensor]:
    """For each query some rows, in order, among which most of its k nearest are."""
    faiss.omp_set_num_threads(1)  # of this thread: others wait for their turn on the same cores
    some, every = faiss.SearchParametersIVF(), faiss.SearchParametersIVF()
    some.nprobe, every.nprobe = max(index.nlist // PROBED, 1), index.nlist
    found = []
    for query in torch.split(queries, 1):
        _, rows = index.search(query.numpy(), 2 * k, params=some)
        if (rows >= 0).sum() < k:
            _, rows = index.search(query.numpy(), 2 * k, params=every)
        found.append(torch.from_numpy(np.sort(rows[rows >= 0])))
    return found


class CodeSearch:
    """By Hamming distance, always exact: a million codes of 256 bits take some milliseconds.

    Args:
        codes: uint8 (N, bits / 8).
    """

    is_exact = True

    def __init__(self, codes: Tensor) -> None:
        self._index = _counting_index(8 * codes.shape[1])
        self._index.add(codes.contiguous().numpy())

    @property
    def count(self) -> int:
        found: int = self._index.ntotal
        return found

    def nearest(self, queries: Tensor, k: int) -> Nearest:
        """Of codes (Q, bits / 8)."""
        k = min(k, self.count)
        indices: NDArray[np.int64] = np.zeros((len(queries), 0), np.int64)
        distances: NDArray[np.int32] = np.zeros((len(queries), 0), np.int32)
        if k:
            faiss.omp_set_num_threads(1)
            distances, indices = self._index.search(queries.contiguous().numpy(), k)
        return Nearest(torch.from_numpy(indices), torch.from_numpy(distances).double())


def _counting_index(bits: int) -> Any:
    index: Any = faiss.IndexBinaryFlat
    made = index(bits)
    made.use_heap = False  # but counting: among equals, the first that comes stays first
    return made


def packed(bits: Tensor) -> Tensor:
    """Codes, bool (B, bits), as bytes, uint8 (B, bits / 8), the first bit of each the highest."""
    return torch.from_numpy(np.packbits(bits.numpy(), axis=1))
