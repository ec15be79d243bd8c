"""How fast CD-1 learns, beside scikit-learn's BernoulliRBM, and how well.

    python -m verify.rbm_speed --data-root DATA --rows 10000 --rounds 3

Both see the same thresholded MNIST digits in batches of 100, 784 x 500 units, on one thread, in
turns; scikit-learn as it comes (float64) and on float32 data. Seconds are of the processor, as
other programs may want it too. After each round: the stochastic pseudo-likelihood on held-out
digits by the same code. `--device cuda` puts ours on a GPU (chains and data stay there) and takes
wall time.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from sklearn.neural_network import BernoulliRBM
from torch import Tensor

from models.families.rbm import RBM, RBMConfig
from models.learning import Batch
from models.networks.bipartite import Bipartite
from models.networks.cheap_likelihoods import stochastic_pseudo_log_likelihood
from models.networks.visible_units import BernoulliUnits
from models.noise import Noise
from training.data.registry import load_data
from training.noise import StepNoise

HIDDEN, BATCH = 500, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="of one epoch each")
    parser.add_argument("--rate", type=float, default=0.05, help="the learning rate of all")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data("mnist", {}, arguments.data_root)
    train, test = (
        torch.from_numpy(np.ascontiguousarray(split.values >= 128)).float().flatten(1)
        for split in (data.train, data.test)
    )
    train, test = train[: arguments.rows], test[:2000]
    ours = Ours(train.to(arguments.device), arguments.rate)
    theirs = {kind: Theirs(train.numpy(), kind, arguments.rate) for kind in ("float64", "float32")}
    clock = time.perf_counter if arguments.device != "cpu" else time.process_time
    print("| epoch | learner | seconds | ours is faster by | pseudo-likelihood, nats |")
    print("|---|---|---|---|---|")
    for epoch in range(arguments.rounds):
        own = seconds(lambda epoch=epoch: ours.epoch(epoch), clock)
        print(row(epoch, "latentd, CD-1", own, own, scored(ours.machine(), test)))
        for kind, each in theirs.items():
            found = seconds(each.epoch, clock)
            print(row(epoch, f"scikit-learn, {kind}", found, own, scored(each.machine(), test)))


def row(epoch: int, name: str, taken: float, ours: float, nats: float) -> str:
    return f"| {epoch + 1} | {name} | {taken:.2f} | {taken / ours:.2f} | {nats:.2f} |"


def seconds(run: Callable[[], None], clock: Callable[[], float]) -> float:
    began = clock()
    run()
    return clock() - began


class Ours:
    def __init__(self, x: Tensor, rate: float) -> None:
        torch.manual_seed(0)
        config = RBMConfig(shape=(1, 28, 28), hidden=HIDDEN, negative="cd", gibbs_steps=1)
        self.model, self.x = RBM(config).to(x.device), x.reshape(-1, 1, 28, 28)
        self.model.prepare(lambda: [Batch(self.x)])
        self.optimizer = torch.optim.SGD(self.model.parameters(), rate)

    @torch.no_grad()
    def epoch(self, number: int) -> None:
        order = torch.from_numpy(np.random.default_rng(number).permutation(len(self.x)))
        for step, rows in enumerate(order.to(self.x.device).split(BATCH)):
            noise = StepNoise(number, step, len(rows), device=self.x.device)
            self.model.estimate(Batch(self.x[rows]), noise, 0.0)
            self.optimizer.step()
            self.model.constrain()
        if self.x.is_cuda:
            torch.cuda.synchronize()

    def machine(self) -> Bipartite:
        return self.model.machine.cpu() if not self.x.is_cuda else copied(self.model.machine)


class Theirs:
    def __init__(self, x: np.ndarray, kind: str, rate: float) -> None:
        self.x = x.astype(kind)
        self.model = BernoulliRBM(
            HIDDEN, batch_size=BATCH, n_iter=1, learning_rate=rate, random_state=0
        )
        self.has_begun = False

    def epoch(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            self.model.fit(self.x)
            return
        for start in range(0, len(self.x), BATCH):
            self.model.partial_fit(self.x[start : start + BATCH])

    def machine(self) -> Bipartite:
        machine = Bipartite(BernoulliUnits(self.x.shape[1]), HIDDEN)
        machine.weight.copy_(torch.from_numpy(self.model.components_.T.copy()))
        machine.bias.copy_(torch.from_numpy(self.model.intercept_hidden_.copy()))
        machine.visible.bias.copy_(torch.from_numpy(self.model.intercept_visible_.copy()))
        return machine


def copied(machine: Bipartite) -> Bipartite:
    found = Bipartite(BernoulliUnits(machine.visible.count), machine.hidden_count)
    found.load_state_dict(machine.state_dict())
    return found


def scored(machine: Bipartite, v: Tensor) -> float:
    noise = Noise.of_rows(0, count=len(v))
    found = stochastic_pseudo_log_likelihood(lambda x: -machine.free_energy(x), v, noise)
    return float(found.mean())


if __name__ == "__main__":
    main()
