"""How well codes of bundles find MNIST digits of the same class, and how long a search takes.

    python -m verify.retrieval bundles/mnist-semantic-hash bundles/mnist-pca --data-root FOLDER
    python -m verify.retrieval --search

The gallery are the 60,000 training pictures, the queries `--queries` random test pictures (of a
fixed seed); pictures of the query's class are relevant. Bundles with binary codes are searched by
Hamming distance, others by Euclidean distance of their latents, and pixels stand beside them; what
is equally far is ranked by index. Precision@10 and average precision are means over queries, +- the
standard error of the latter's. `--search` times queries among 1,000,000 random codes of 256 bits,
one after the other on one core.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bundle import load_bundle
from models.capabilities import BinaryCodes, Conditional, Encoder, offers
from training.data.registry import load_data

ROWS_AT_ONCE = 500
QUERIES_AT_ONCE = 50
CODES, BITS, TIMED = 1_000_000, 256, 50

Codes = NDArray[Any]  # packed bits, uint8 (N, bits / 8), or vectors, float32 (N, D)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="*")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--binarize", action="store_true", help="pictures, at one half")
    parser.add_argument("--search", action="store_true")
    arguments = parser.parse_args()
    if arguments.search:
        time_search()
    if not arguments.bundle:
        return
    models = [(path.name, load_bundle(path).model) for path in arguments.bundle]
    kinds = [kind_of(model) for _, model in models]
    data = load_data("mnist", {"validation_fraction": 0.0}, arguments.data_root)
    chosen = np.random.Generator(np.random.Philox(key=[1, 0])).permutation(len(data.test.values))
    queries = data.test.take(chosen[: arguments.queries])
    x, q = (
        torch.from_numpy(split.values).float() / 255 for split in (data.train, queries)
    )  # (N, 1, 28, 28)
    if arguments.binarize:
        x, q = x.round(), q.round()
    labels, wanted = data.train.labels, queries.labels
    assert labels is not None
    assert wanted is not None
    print("| bundle | code | precision@10 | mean average precision |")
    print("|---|---|---|---|")
    report("", "pixels", score(pixels(x), pixels(q), labels, wanted))
    for (name, model), kind in zip(models, kinds, strict=True):
        report(name, kind, score(codes_of(model, x), codes_of(model, q), labels, wanted))


def report(name: str, kind: str, found: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
    """A line of the table."""
    precision, average = found
    error = average.std(ddof=1) / len(average) ** 0.5
    print(
        f"| {name} | {kind} | {precision.mean():.4f} | {average.mean():.4f} +- {error:.4f} |",
        flush=True,
    )


def kind_of(model: object) -> str:
    """What is compared of a model's codes."""
    if offers(model, Conditional) or not offers(model, Encoder):
        raise SystemExit("retrieval is of models that encode pictures without being told labels")
    if isinstance(model, BinaryCodes):
        return f"{model.bits} bits"
    return "latents"


@torch.no_grad()
def codes_of(model: Any, x: Tensor) -> Codes:
    """Codes of pictures, (N, 1, 28, 28), for an index."""
    parts = torch.split(x, ROWS_AT_ONCE)
    if isinstance(model, BinaryCodes):
        return np.packbits(torch.cat([model.binary_codes(part) for part in parts]).numpy(), axis=1)
    return pixels(torch.cat([model.encode(part).mean for part in parts]))


def pixels(x: Tensor) -> Codes:
    return np.ascontiguousarray(x.flatten(1).float().numpy())


def index_of(gallery: Codes) -> Any:
    """An index that compares with everything, by Hamming or by Euclidean distance."""
    is_binary = gallery.dtype == np.uint8
    width = gallery.shape[1]
    index = faiss.IndexBinaryFlat(8 * width) if is_binary else faiss.IndexFlatL2(width)
    index.add(gallery)
    return index


def score(
    gallery: Codes, queries: Codes, labels: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision@10 and average precision of each query."""
    index, precisions, averages = index_of(gallery), [], []
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(first, first + QUERIES_AT_ONCE)
        distances, found = index.search(queries[part], len(gallery))
        order = np.lexsort((found, distances))  # by distance, then by index
        ranked = np.take_along_axis(found, order, axis=1)
        relevant = labels[ranked] == wanted[part, None]
        precisions.append(relevant[:, :10].mean(axis=1))
        averages.append(average_precision(relevant))
    return np.concatenate(precisions), np.concatenate(averages)


def average_precision(relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of rankings, (Q, N): the mean, over the relevant, of the precision down to their rank.

    >>> average_precision(np.array([[True, False, True]]))
    array([0.83333333])
    """
    hits = relevant.cumsum(axis=1)
    precision = hits / np.arange(1, relevant.shape[1] + 1)
    found: NDArray[np.float64] = (precision * relevant).sum(axis=1) / np.maximum(hits[:, -1], 1)
    return found


def time_search() -> None:
    """The ten nearest of random codes, a query at a time."""
    faiss.omp_set_num_threads(1)
    draw = np.random.Generator(np.random.Philox(0))
    index = index_of(draw.integers(0, 256, (CODES, BITS // 8), np.uint8))
    seconds = []
    for query in draw.integers(0, 256, (TIMED, 1, BITS // 8), np.uint8):
        began = time.perf_counter()
        index.search(query, 10)
        seconds.append(time.perf_counter() - began)
    middle, slowest = 1000 * np.median(seconds), 1000 * np.max(seconds)
    print("| codes | bits | queries | median | slowest |")
    print("|---|---|---|---|---|")
    print(f"| {CODES:,} | {BITS} | {TIMED} | {middle:.1f} ms | {slowest:.1f} ms |", flush=True)


if __name__ == "__main__":
    main()
