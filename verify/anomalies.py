"""How well scores of bundles tell test digits from what is none: ROC-AUC by kind of oddity.

    python -m verify.anomalies bundles/mnist-made bundles/mnist-vae-static --data-root FOLDER

Odd pictures are made of the test digits: turned by 90 degrees, upside down, with 10 % of pixels
flipped (binary) or noise of 0.1 (grey), with pixels in another order; and blank pictures with a few
dots, which are the trap: simple, so that many models find them likelier than any digit (Nalisnick
et al., 2019, arXiv:1810.09136). 0.5 is chance; below it, oddities count as more normal than digits.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from models.bundle import load_bundle
from models.noise import Noise
from service.pictures import compressed_bits
from training.data.registry import load_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--variant", choices=("static", "grey"), default="static")
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    data = load_data("mnist", {"variant": arguments.variant}, arguments.data_root)
    x = torch.from_numpy(data.test.values[: arguments.rows]).float() / 255
    known = torch.from_numpy(data.validation.values[: arguments.rows]).float() / 255
    sets = oddities(x, arguments.variant == "static")
    print("| bundle | score |", " | ".join(sets), "|")
    print("|---|---|", "---|" * len(sets), sep="")
    for path in arguments.bundle:
        model = load_bundle(path).model
        nats = {name: _nats(model, each) for name, each in {"": x, **sets}.items()}
        centre = _nats(model, known).mean()
        scores = {
            "likelihood": nats,
            "typicality": {name: -(each - centre).abs() for name, each in nats.items()},
            "complexity": {
                name: each + _format_nats(x if name == "" else sets[name])
                for name, each in nats.items()
            },
        }
        for score, values in scores.items():
            found = [_auc(values[""], values[name]) for name in sets]
            row = " | ".join(f"{each:.3f}" for each in found)
            print(f"| {path.name} | {score} | {row} |", flush=True)


def oddities(x: Tensor, is_binary: bool) -> dict[str, Tensor]:
    """Pictures that are no digits, by kind; (B, 1, H, W)."""
    noise = Noise.of_rows(1, count=len(x))
    uniform = noise.uniform(x.shape[1:])
    order = torch.from_numpy(np.random.Generator(np.random.Philox(0)).permutation(x[0].numel()))
    shuffled = x.flatten(1)[:, order].reshape(x.shape)
    dots = (noise.stream("dots").uniform(x.shape[1:]) < 0.01).float()
    if is_binary:
        noisy = torch.where(uniform < 0.1, 1 - x, x)
    else:
        noisy = (
            255 * (x + 0.1 * noise.stream("grey").normal(x.shape[1:])).clamp(0, 1)
        ).round() / 255
    return {
        "turned": x.rot90(1, (2, 3)),
        "upside down": x.flip(2, 3),
        "noisy": noisy,
        "shuffled": shuffled,
        "a few dots": dots,
    }


def _nats(model: object, x: Tensor) -> Tensor:
    with torch.no_grad():
        found = [
            model.log_prob(part, Noise.of_rows(0, count=len(part))).nats  # type: ignore[attr-defined]
            for part in x.split(100)
        ]
    return torch.cat(found).double()


def _format_nats(x: Tensor) -> Tensor:
    return torch.tensor(compressed_bits(x), dtype=torch.float64) * np.log(2)


def _auc(normal: Tensor, odd: Tensor) -> float:
    labels = [1] * len(normal) + [0] * len(odd)
    return float(roc_auc_score(labels, torch.cat([normal, odd]).numpy()))


if __name__ == "__main__":
    main()
