"""How often annealed importance sampling's log Z lies within its errors, on machines small enough
for the sum over all their states.

    python -m verify.annealing_seeds --seeds 100

Machines of two sides with random weights of three sizes, one of softmax and one of Gaussian visible
units, and two with connections within a side; a thousand temperatures, 100 chains. `within` is the
share of seeds whose estimate is at most three of its own standard errors from the truth.
"""

import argparse
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from models.networks import pairwise
from models.networks.annealing import LogPartition, annealed, ladder
from models.networks.bipartite import Bipartite
from models.networks.pairwise import Pairwise
from models.networks.visible_units import BernoulliUnits, GaussianUnits, SoftmaxUnits

M = TypeVar("M", bound=nn.Module)
STEPS, CHAINS = 1000, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    arguments = parser.parse_args()
    print("| machine | log Z | within | mean error, nats | largest error |")
    print("|---|--:|--:|--:|--:|")
    for name, exact, estimate in machines():
        found = [estimate(seed) for seed in range(arguments.seeds)]
        errors = torch.tensor([each.value - exact for each in found])
        within = errors.abs() <= 3 * torch.tensor([each.standard_error for each in found])
        print(
            f"| {name} | {exact:.3f} | {within.float().mean():.2f} | {errors.mean():+.4f} "
            f"| {errors.abs().max():.3f} |",
            flush=True,
        )


def machines() -> list[tuple[str, float, Callable[[int], LogPartition]]]:
    """Names, exact log Z, and an estimate of it by seed."""
    found = []
    for name, units, hidden, scale in (
        ("10 x 5 binary, weights of deviation 0.5", BernoulliUnits(10), 5, 0.5),
        ("10 x 5 binary, weights of deviation 1", BernoulliUnits(10), 5, 1.0),
        ("10 x 5 binary, weights of deviation 2", BernoulliUnits(10), 5, 2.0),
        ("3 x 3 softmax, 5 binary", SoftmaxUnits(3, 3), 5, 0.7),
        ("4 Gaussian, 5 binary", GaussianUnits(4), 5, 0.4),
    ):
        machine = disturbed(Bipartite(units, hidden), scale)
        base = torch.zeros(units.count)

        def two_sided(seed: int, machine: Bipartite = machine, base: torch.Tensor = base):
            return annealed(machine, base, ladder(STEPS), CHAINS, seed)

        found.append((name, machine.log_partition().item(), two_sided))
    for scale in (0.4, 0.8):
        connected = Pairwise(6, 4)
        disturbed(connected, scale)
        connected.project()

        def laterally(seed: int, machine: Pairwise = connected):
            base = torch.zeros(machine.count)
            return pairwise.annealed(machine, base, ladder(STEPS), CHAINS, seed)

        name = f"6 + 4 binary, all connected, weights of deviation {scale}"
        found.append((name, connected.log_partition().item(), laterally))
    return found


def disturbed(machine: M, scale: float) -> M:
    """With random parameters of that deviation."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in machine.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return machine


if __name__ == "__main__":
    main()
