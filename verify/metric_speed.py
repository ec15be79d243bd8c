"""How quick our metrics are beside others' implementations, of equal inputs in one run.

    python -m verify.metric_speed --rows 2000 --width 2048 --repeats 3
    python -m verify.metric_speed --memory-rows 50000

Times are processor seconds of one thread, the least of interleaved repeats. Which of torchmetrics,
torch-fidelity, prdc and pytorch-msssim are not installed is said. `--memory-rows` measures
precision and recall of so many rows alone: seconds, and the most memory that the process held.
"""

import argparse
import importlib
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import convolve
from torch import Tensor

from metrics.frechet_distance import frechet_distance
from metrics.kernel_distance import kernel_distance
from metrics.ms_ssim import ms_ssim
from metrics.neighbourhoods import neighbourhoods
from metrics.precision_recall import precision_recall
from metrics.sliced_wasserstein import (
    PATCH,
    REPEATS,
    SMALLEST_SIDE,
    sliced_distances,
    sliced_wasserstein,
)
from metrics.sliced_wasserstein import PATCHES as PATCHES_OF_A_PICTURE
from metrics.structural_similarity import structural_similarity

PEERS = ("torchmetrics", "torch_fidelity", "prdc", "pytorch_msssim")
SUBSETS, SUBSET_ROWS = 20, 1000
DIRECTIONS, PATCHES = 128, 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-rows", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory_rows:
        _memory(arguments.memory_rows, arguments.width)
        return
    known = {name for name in PEERS if _is_there(name)}
    print("absent:", ", ".join(sorted(set(PEERS) - known)) or "none")
    real, fake = _features(arguments.rows, arguments.width)
    print("| what | implementation | seconds | of ours |")
    print("|---|---|---|---|")
    for what, contenders in _contests(real, fake, known).items():
        _race(what, contenders, arguments.repeats)


def _is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _features(rows: int, width: int) -> tuple[Tensor, Tensor]:
    """As networks give them: not below zero, of fewer directions than numbers."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(64, width, generator=generator) / 8
    found = []
    for scale in (1.0, 1.02):
        features = scale * torch.randn(rows, 64, generator=generator) @ mixing
        noise = torch.cat(
            [
                0.3 * torch.randn(len(part), width, generator=generator)
                for part in features.split(1000)
            ]
        )
        found.append(features.add_(noise).relu_())
    return found[0], found[1]


def _contests(
    real: Tensor, fake: Tensor, known: set[str]
) -> dict[str, dict[str, Callable[[], object]]]:
    generator = torch.Generator().manual_seed(1)
    small, large = (torch.rand(n, 3, s, s, generator=generator) for n, s in ((128, 64), (16, 192)))
    noisy = [
        (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1) for x in (small, large)
    ]
    many = [torch.rand(256, 3, 64, 64, generator=generator) for _ in range(2)]
    patches = [torch.randn(PATCHES, 147, generator=generator) for _ in range(2)]
    directions = torch.randn(1, 147, DIRECTIONS, generator=generator)
    subset_rows = min(SUBSET_ROWS, len(real) // 2)
    found: dict[str, dict[str, Callable[[], object]]] = {
        "precision, recall": {"ours": lambda: precision_recall(real, fake)},
        "precision, recall, density, coverage": {"ours": lambda: neighbourhoods(real, fake)},
        "kernel distance": {"ours": lambda: kernel_distance(real, fake, SUBSETS, subset_rows)},
        "Frechet distance": {"ours": lambda: frechet_distance(real, fake)},
        "SSIM, 128 of 64 pixels": {"ours": lambda: structural_similarity(small, noisy[0])},
        "MS-SSIM, 16 of 192 pixels": {"ours": lambda: ms_ssim(large, noisy[1])},
        "sliced Wasserstein, 256 of 64 pixels": {
            "ours": lambda: sliced_wasserstein(*many),
            "NumPy and SciPy": lambda: _sliced_wasserstein_by_numpy(*(x.numpy() for x in many)),
        },
        "its sorting alone, 65,536 patches": {
            "ours": lambda: sliced_distances(*patches, directions),
            "NumPy": lambda: _sliced_by_numpy(*(x.numpy() for x in patches), directions[0].numpy()),
        },
    }
    if "torch_fidelity" in known:
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
        from torch_fidelity.metric_kid import kid_features_to_metric
        from torch_fidelity.metric_prc import prc_features_to_metric

        found["precision, recall"]["torch-fidelity"] = lambda: prc_features_to_metric(
            fake, real, prc_neighborhood=3, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
        )
        found["kernel distance"]["torch-fidelity"] = lambda: kid_features_to_metric(
            fake, real, kid_subsets=SUBSETS, kid_subset_size=subset_rows, verbose=False
        )
        found["Frechet distance"]["torch-fidelity"] = lambda: fid_statistics_to_metric(
            *(fid_features_to_statistics(each) for each in (fake, real)), verbose=False
        )
    if "prdc" in known:
        from prdc import compute_prdc

        found["precision, recall, density, coverage"]["prdc"] = lambda: compute_prdc(
            real.numpy(), fake.numpy(), 5
        )
    if "torchmetrics" in known:
        from torchmetrics.functional.image import structural_similarity_index_measure
        from torchmetrics.image.kid import poly_mmd

        def kernel() -> None:
            for _ in range(SUBSETS):
                rows = [torch.randperm(len(real))[:subset_rows] for _ in range(2)]
                poly_mmd(real[rows[0]], fake[rows[1]])

        found["kernel distance"]["torchmetrics"] = kernel
        found["SSIM, 128 of 64 pixels"]["torchmetrics"] = lambda: (
            structural_similarity_index_measure(small, noisy[0], data_range=1.0)
        )
    if "pytorch_msssim" in known:
        import pytorch_msssim

        found["SSIM, 128 of 64 pixels"]["pytorch-msssim"] = lambda: pytorch_msssim.ssim(
            small, noisy[0], data_range=1.0
        )
        found["MS-SSIM, 16 of 192 pixels"]["pytorch-msssim"] = lambda: pytorch_msssim.ms_ssim(
            large, noisy[1], data_range=1.0
        )
    return found


def _sliced_wasserstein_by_numpy(
    real: NDArray[np.float32], samples: NDArray[np.float32]
) -> list[float]:
    """All levels, four repeats each, in the steps that Karras et al. (2018) published."""
    line = np.array([1, 4, 6, 4, 1], np.float32) / 16
    kernel = (line[:, None] * line)[None, None]
    random, levels = np.random.default_rng(0), [255 * real, 255 * samples]
    found = []
    while True:
        finest, side = levels, levels[0].shape[-1]
        if side > SMALLEST_SIDE:
            coarse = [convolve(x, kernel, mode="mirror")[:, :, ::2, ::2] for x in levels]
            wide = [np.zeros_like(x) for x in levels]
            for each, small in zip(wide, coarse, strict=True):
                each[:, :, ::2, ::2] = small
            back = [convolve(each, 4 * kernel, mode="mirror") for each in wide]
            finest = [x - each for x, each in zip(levels, back, strict=True)]
        described = [_patches_by_numpy(each, random) for each in finest]
        for _ in range(REPEATS):
            directions = random.standard_normal((described[0].shape[1], DIRECTIONS), np.float32)
            found.append(_sliced_by_numpy(*described, directions))
        if side == SMALLEST_SIDE:
            return found
        levels = coarse


def _patches_by_numpy(x: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    count, half = PATCHES_OF_A_PICTURE * len(x), PATCH // 2
    picture, channel, row, column = np.ogrid[
        :count, : x.shape[1], -half : half + 1, -half : half + 1
    ]
    places = random.integers(half, x.shape[-1] - half, (2, count, 1, 1, 1))
    found = x[picture // PATCHES_OF_A_PICTURE, channel, places[0] + row, places[1] + column]
    found = found - found.mean(axis=(0, 2, 3), keepdims=True)
    found /= found.std(axis=(0, 2, 3), keepdims=True)
    return found.reshape(count, -1)


def _sliced_by_numpy(
    a: NDArray[np.float32], b: NDArray[np.float32], directions: NDArray[np.float32]
) -> float:
    """As written by Karras et al. (2018), of one repeat."""
    unit = directions / np.sqrt(np.square(directions).sum(axis=0, keepdims=True))
    along_a, along_b = (np.sort(each @ unit, axis=0) for each in (a, b))
    return float(np.abs(along_a - along_b).mean())


def _race(what: str, contenders: dict[str, Callable[[], object]], repeats: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            began = time.process_time()
            run()
            seconds[name].append(time.process_time() - began)
    own = min(seconds["ours"])
    for name, found in seconds.items():
        print(f"| {what} | {name} | {min(found):.2f} | {min(found) / own:.2f} |", flush=True)


def _memory(rows: int, width: int) -> None:
    real, fake = _features(rows, width)
    began = time.process_time()
    found = precision_recall(real, fake)
    seconds = time.process_time() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of KiB
    print(f"{rows:,} x {width:,}: {found}, {seconds:.0f} s of one thread, {most:.2f} GiB at most")


if __name__ == "__main__":
    main()
