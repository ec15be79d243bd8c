"""What the penalty of a contractive autoencoder costs: the closed form beside the exact Jacobian.

    python -m verify.contractive_cost

Seconds of one evaluation with its gradient, of 100 rows of x numbers and one sigmoid layer of h.
The closed form takes as many operations as the layer, O(x h) a row; the exact Jacobian takes a
product of O(x h) for each code number, O(x h^2); each probe of Hutchinson's takes one product.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from models.conditions import ConditionSchema
from models.families.contractive import Contractive, ContractiveConfig
from models.noise import Noise

ROWS = 100
SIZES = ((64, 64), (64, 256), (256, 256), (784, 256), (784, 1000))  # x, h
LARGEST_EXACT = 784 * 256**2  # of x h^2: beyond, the products of all code numbers fill the memory
LEAST_SECONDS = 0.5  # of repetitions


def main() -> None:
    torch.set_num_threads(1)
    print("| x | h | x h | layer | closed form | exact | one probe | closed form / layer |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for x, h in SIZES:
        rows = Noise.of_rows(0, count=ROWS).uniform((x,))
        model = built(x, h, "closed_form")
        layer = layer_seconds(model, rows)
        closed = penalty_seconds(model, rows)
        is_small = x * h**2 <= LARGEST_EXACT
        exact = f"{penalty_seconds(built(x, h, 'exact'), rows):.5f}" if is_small else "-"
        probe = penalty_seconds(built(x, h, "hutchinson"), rows)
        times = f"{layer:.5f} | {closed:.5f} | {exact} | {probe:.5f} | {closed / layer:.1f}"
        print(f"| {x} | {h} | {x * h} | {times} |", flush=True)


def built(x: int, h: int, penalty: str) -> Contractive:
    config = ContractiveConfig.for_data((x,), ConditionSchema(), latent_width=h, penalty=penalty)
    return Contractive(config)


def layer_seconds(model: Contractive, rows: Tensor) -> float:
    return seconds_of(lambda: model.code(rows).sum(), model)


def penalty_seconds(model: Contractive, rows: Tensor) -> float:
    noise = Noise.of_rows(0, count=len(rows))
    return seconds_of(lambda: model.penalty(rows, noise).mean(), model)


def seconds_of(value: Callable[[], Tensor], model: Contractive) -> float:
    """The least of some repetitions, each with the gradient in the encoder's weights."""
    weights, times = list(model.encoder.parameters()), []
    while len(times) < 3 or sum(times) < LEAST_SECONDS:
        began = time.perf_counter()
        torch.autograd.grad(value(), weights, allow_unused=True)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
