"""How much of one core's time a search of the 10 nearest takes.

    python -m verify.neighbour_search

Among a million codes of 256 bits; among as many vectors as are all looked at; and, with how many of
the true neighbours are found, among more vectors than that, which lie in clusters as encodings do.
"""

import time
from collections.abc import Callable

import torch

from service.search import EXACT_MOST, CodeSearch, Search, VectorSearch

QUERIES = 100
K = 10


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    print("| what | build, s | one query, ms | recall |")
    print("|---|---|---|---|")
    codes = torch.randint(0, 256, (1_000_000, 32), generator=generator, dtype=torch.uint8)
    _show("1,000,000 codes of 256 bits", codes, CodeSearch)
    levels = torch.randint(0, 256, (EXACT_MOST, 784), generator=generator, dtype=torch.uint8)
    _show(f"{EXACT_MOST:,} pictures of 28 x 28", levels, VectorSearch)
    many = 3 * EXACT_MOST
    middles = torch.randn(1000, 32, generator=generator)
    chosen = torch.randint(0, 1000, (many,), generator=generator)
    latents = middles[chosen] + 0.3 * torch.randn(many, 32, generator=generator)
    found = _show(f"{many:,} latents of 32 numbers", latents, VectorSearch, show=False)
    queries = latents[:QUERIES].double()
    wanted = torch.cdist(queries, latents.double()).topk(K, largest=False).indices
    shared = [len(set(a) & set(b)) for a, b in zip(wanted.tolist(), found[0], strict=True)]
    print(f"{found[1]} {sum(shared) / (K * QUERIES):.3f} |")


def _show(
    what: str, rows: torch.Tensor, make: Callable[[torch.Tensor], Search], show: bool = True
) -> tuple[list[list[int]], str]:
    began = time.process_time()
    search = make(rows)
    build = time.process_time() - began
    found, seconds = [], []
    for query in rows[:QUERIES]:
        began = time.process_time()
        found.append(search.nearest(query[None], K).indices[0].tolist())
        seconds.append(time.process_time() - began)
    median = sorted(seconds)[QUERIES // 2]
    line = f"| {what} | {build:.2f} | {1000 * median:.2f} |"
    if show:
        print(line, "1 |" if search.is_exact else "")
    return found, line


if __name__ == "__main__":
    main()
