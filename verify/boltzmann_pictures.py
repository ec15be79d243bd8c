"""What Boltzmann machines have learned, as pictures.

    python -m verify.boltzmann_pictures filters bundles/mnist-rbm --picture docs/images/filters.png
    python -m verify.boltzmann_pictures classes bundles/mnist-dbn-classes --picture digits.png
    python -m verify.boltzmann_pictures completions bundles/shapes-shape-bm --picture shapes.png

`filters`: the first 100 hidden units' weights, each stretched to all greys. `classes`: a line for
each class that is clamped, one chain a picture. `completions`: held-out pictures, what is known of
them (the rest grey), and four chains each with that part clamped; left halves, right halves and
middles are hidden in turn.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from models.bundle import Bundle, load_bundle
from models.capabilities import Conditional, Dictionary, Inpainter, Stepwise, offers
from models.conditions import Categorical
from models.files import write_file
from models.noise import Noise
from training.grids import grid_png

FILTERS = 100
CHAINS = 10  # of each class
COMPLETED = 12  # pictures
COMPLETIONS = 4  # of each
UNKNOWN = 0.5  # the grey of what is not known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("filters", "classes", "completions"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--steps", type=int, help="of each chain")
    parser.add_argument("--picture", type=Path, required=True, help="a .png")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    with torch.no_grad():
        if arguments.what == "filters":
            shown, columns = filters(bundle), CHAINS
        elif arguments.what == "classes":
            shown, columns = classes(bundle, arguments.steps), CHAINS
        else:
            shown, columns = completions(bundle, arguments.steps), 2 * (2 + COMPLETIONS)
    write_file(arguments.picture, grid_png(shown, columns))


def filters(bundle: Bundle) -> Tensor:
    """Weights of hidden units, 0 the least and 1 the largest of each."""
    if not isinstance(bundle.model, Dictionary):
        raise SystemExit(f"{bundle.path} composes pictures of no parts")
    atoms = bundle.model.atoms()[:FILTERS]
    low, high = (bound(atoms, dim=(1, 2, 3), keepdim=True) for bound in (torch.amin, torch.amax))
    return (atoms - low) / (high - low).clamp(min=1e-12)


def classes(bundle: Bundle, steps: int | None) -> Tensor:
    """Samples of each value of the first attribute, line by line."""
    model = bundle.model
    if not isinstance(model, Stepwise) or not isinstance(model, Conditional):
        raise SystemExit(f"{bundle.path} does not sample by class")
    schema = model.condition_schema
    attribute = schema.attributes[0] if offers(model, Conditional) else None
    if not isinstance(attribute, Categorical):
        raise SystemExit(f"{bundle.path} has no classes")
    y = torch.tensor([schema.encode({attribute.name: value}) for value in attribute.values])
    y = y.repeat_interleave(CHAINS, dim=0)
    noise = Noise.of_rows(0, count=len(y))
    return model.run_to_end(model.begin(noise, y, steps))


def completions(bundle: Bundle, steps: int | None) -> Tensor:
    """For each picture: itself, what is known of it, and completions; two pictures a line."""
    model = bundle.model
    if not isinstance(model, Inpainter) or not isinstance(model, Stepwise):
        raise SystemExit(f"{bundle.path} completes nothing")
    x = torch.from_numpy(bundle.reference().held_out[:COMPLETED]).float() / 255
    known = torch.ones_like(x, dtype=torch.bool)
    width = x.shape[-1]
    hidden = (slice(0, width // 2), slice(width // 2, width), slice(width // 4, 3 * width // 4))
    for row in range(len(x)):
        known[row, :, :, hidden[row % len(hidden)]] = False
    several, mask = (each.repeat_interleave(COMPLETIONS, dim=0) for each in (x, known))
    noise = Noise.of_rows(0, count=len(several))
    completed = model.run_to_end(model.begin_inpainting(several, mask, noise, None, steps))
    given = torch.where(known, x, torch.full_like(x, UNKNOWN))
    lines = [x[:, None], given[:, None], completed.reshape(len(x), COMPLETIONS, *x.shape[1:])]
    return torch.cat(lines, dim=1).flatten(0, 1)


if __name__ == "__main__":
    main()
