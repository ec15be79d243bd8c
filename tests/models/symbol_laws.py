"""What the tests of the families that draw symbol by symbol share."""

from itertools import product

import torch
from torch import Tensor

from models.learning import Batch
from models.noise import Noise
from service.entropy import reader, writer

# All binary pictures of 2x2; row k has the bits of k.
SQUARES = torch.tensor(list(product([0.0, 1.0], repeat=4))).reshape(16, 1, 2, 2)


def disturbed(model, scale):
    """The model with weights so large that its values depend on each other strongly."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)
    return model.eval().requires_grad_(False)


def probabilities(model, condition=None) -> Tensor:
    """Of all sixteen binary pictures of 2x2."""
    y = None if condition is None else condition.expand(16, -1)
    return model.log_prob(SQUARES, Noise.of_rows(0, count=16), 1, y).nats.double().exp()


def frequencies(pictures: Tensor) -> Tensor:
    """How often each of the sixteen is there."""
    index = (pictures.flatten(1) @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
    return torch.bincount(index, minlength=16).double()


def chi_square(counts: Tensor, law: Tensor) -> float:
    """Pearson's statistic: its mean is the number of free categories."""
    expected = law * counts.sum()
    return ((counts - expected) ** 2 / expected).sum().item()


def stepped(model, chains, times):
    for _ in range(times):
        chains = model.advance(chains)
    return chains


def coded(model, x: Tensor, condition=None) -> tuple[bytes, Tensor]:
    """The stream that pictures become, and what it becomes again."""
    into = writer(model.coder)
    for _ in model.compressing(x, into, condition):
        pass
    stream = into.to_bytes()
    steps = model.decompressing(len(x), reader(model.coder, stream), condition)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return stream, end.value


def learned(model, x: Tensor, learning_rate: float) -> float:
    """Nats per picture after some steps on the same pictures."""
    optimizer = torch.optim.Adam(model.train().parameters(), learning_rate)
    for step in range(400):
        optimizer.zero_grad()
        model.losses(Batch(x), Noise.of_rows(step), 0.0)["loss"].backward()
        optimizer.step()
    model.eval().requires_grad_(False)
    return -model.log_prob(x, Noise.of_rows(0, count=len(x))).nats.mean().item()
