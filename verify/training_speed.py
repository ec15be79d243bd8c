"""How fast a recipe of two players trains, beside a plain PyTorch loop over the same networks.

    python -m verify.training_speed faces-dcgan --steps 100 --rounds 5

Both take the same rows in batches of the same size, the same two optimizers, an average of weights
where the recipe has one, and one thread, in turns; a round of ours is the loop that `latentd train`
runs, with its logs and a checkpoint at the end. Printed are steps a second and, of each round, ours
over the plain loop's: by the clock, and by the processor's time, which other programs on the
machine disturb less.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from models.conditions import ConditionSchema
from models.family import ConditionalConfig
from training.batches import Rows, conditions_of
from training.data.registry import load_data
from training.directory import RunDirectory
from training.logs import Logs
from training.loop import Loop, Standing
from training.recipe import Recipe, find, read_recipe
from training.run import Place, build_model, make_fabric, stage_algorithms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--steps", type=int, default=100, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_recipe(find(arguments.recipe))
    length = {"epochs": None, "steps": arguments.steps}
    training = recipe.training.model_copy(update=length)
    recipe = recipe.model_copy(update={"training": training})
    data = load_data(recipe.data.name, recipe.data.options, arguments.data_root)
    model = build_model(recipe, data)
    if model.config.objective != "non_saturating" or recipe.training.discriminator_steps != 1:
        parser.error("the plain loop knows the game of dcgan only")
    print("| round | latentd, steps a second | plain loop | ratio | ratio of processor time |")
    print("|---|---|---|---|---|")
    ratios = []
    for index in range(arguments.rounds):
        ours, plain = ours_seconds(recipe, data, model), plain_seconds(recipe, data, model)
        ratios.append(plain / ours)
        rates = [f"{arguments.steps / seconds[0]:.2f}" for seconds in (ours, plain)]
        found = [f"{ratio:.3f}" for ratio in ratios[-1]]
        print(f"| {index + 1} | {' | '.join((*rates, *found))} |", flush=True)
    found = [f"{ratio:.3f}" for ratio in np.median(ratios, axis=0)]
    print(f"| median | | | {' | '.join(found)} |")


def clocks() -> NDArray[np.float64]:
    """Seconds of the clock and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


def ours_seconds(recipe: Recipe, data: Any, model: Any) -> NDArray[np.float64]:
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        place = Place(recipe_name="speed", out=Path(folder), directory=directory, device="cpu")
        fabric = make_fabric(recipe, place)
        ((stage, algorithm), *_) = stage_algorithms(model, recipe, fabric)
        config = model.config
        schema = config.condition if isinstance(config, ConditionalConfig) else ConditionSchema()
        rows = Rows(data.train.values, conditions_of(data.train, schema), redraw=False)
        loop = Loop(
            model, stage, algorithm, recipe.seed, Standing(), rows, rows,
            directory.checkpoints, {}, bytes, dict,
        )  # fmt: skip
        loop.set_up(None)
        with Logs(directory.path, 0) as logs:
            began = clocks()
            loop.run(logs)
            return clocks() - began


def plain_seconds(recipe: Recipe, data: Any, model: Any) -> NDArray[np.float64]:
    """What one would write for these two networks."""
    settings = recipe.training
    model.to(memory_format=torch.contiguous_format)  # as PyTorch makes it
    generator, critic = model.players()
    model.train()
    rate = settings.learning_rate
    of_generator = torch.optim.Adam(generator.parameters(), rate, settings.betas)
    of_critic = torch.optim.Adam(
        critic.parameters(), settings.discriminator_learning_rate or rate, settings.betas
    )
    averaged = None
    if settings.ema is not None:
        averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
    values = torch.from_numpy(data.train.values)
    order = torch.randperm(len(values))
    began = clocks()
    for step in range(settings.steps or 0):
        start = step * settings.batch_size % (len(values) - settings.batch_size)
        real = values[order[start : start + settings.batch_size]].float() / 127.5 - 1
        z = torch.randn(len(real), model.config.latent_width, 1, 1)
        with torch.no_grad():
            fake = generator(z)
        loss = against(critic(real), model.config.real_target) + against(critic(fake), 0.0)
        of_critic.zero_grad()
        loss.backward()
        of_critic.step()
        for parameter in critic.parameters():
            parameter.requires_grad_(False)
        z = torch.randn(len(real), model.config.latent_width, 1, 1)
        loss = against(critic(generator(z)), 1.0)
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
        for parameter in critic.parameters():
            parameter.requires_grad_(True)
        if averaged is not None:
            averaged.update_parameters(generator)
    return clocks() - began


def against(scores: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


if __name__ == "__main__":
    main()
