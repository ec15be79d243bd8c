"""A run from end to end: recipe, data, model, learning, numbers, bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import distributed

from models import registry
from models.bundle import save_bundle
from models.conditions import ConditionSchema
from models.errors import InvalidConfig, nearest
from models.family import ConditionalConfig, Family, FamilyConfig, TaughtConfig
from models.learning import Adversarial, Given, Stage, stages_of
from training.algorithms import algorithm_of
from training.algorithms.algorithm import Algorithm, Stepwise
from training.animation import animation_webp
from training.batches import ROWS_OF_A_PASS, Rows, binarized, conditions_of, schema_of, seen_by
from training.bundling import provenance_of, reference_of
from training.card import model_card
from training.checkpoints import Checkpoint
from training.data.dataset import DataSet
from training.data.registry import load_data, options_type
from training.directory import RunDirectory
from training.diversity import Diversity, evaluator_of
from training.errors import CannotResume
from training.evaluation import Measurement, evaluate
from training.identity import differences, identity_of
from training.logs import Logs
from training.loop import Loop, Standing, standing_of
from training.recipe import Recipe, Training
from training.representation import directions_of, labelled, linear_probe
from training.samples import sample_grid


@dataclass(frozen=True)
class Place:
    """Where a run reads and writes, and on what it computes.

    Args:
        command: as it was typed, for the model card.
    """

    recipe_name: str
    out: Path
    directory: RunDirectory
    beginning: Literal["new", "resume", "restart"] = "new"
    data_root: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    command: str = ""


@dataclass(frozen=True)
class Outcome:
    digest: str
    steps: int
    measurements: Sequence[Measurement]


def train(recipe: Recipe, place: Place) -> Outcome | None:
    """Learn, measure and write the bundle; None on all processes but the first.

    Raises:
        LatentdError: anything that the recipe, the data or the directory has wrong, or that
            ends the run before its time.
    """
    check_settings(recipe)
    if place.beginning == "new":
        place.directory.refuse_if_used()  # before there are processes that would wait for this one
    fabric = make_fabric(recipe, place)
    with ExitStack() as stack:
        stack.callback(_leave_others)
        if fabric.is_global_zero:
            stack.enter_context(place.directory.locked())
            if place.beginning == "restart":
                place.directory.clear()
        fabric.barrier()
        return _train(recipe, place, fabric)


def _leave_others() -> None:
    """Ends what ties this process to the others of the run: its threads, where they outlive the
    interpreter, abort the process."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def make_fabric(recipe: Recipe, place: Place) -> Fabric:
    """Fabric on the chosen devices; with several, each runs this program from here on."""
    accelerator = place.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and torch.cuda.device_count() < place.devices:
        raise InvalidConfig(
            f"--device cuda --devices {place.devices}: there are {torch.cuda.device_count()}",
            "device",
        )
    fabric = Fabric(
        accelerator=accelerator,
        devices=place.devices,
        strategy="ddp" if place.devices > 1 else "auto",
        precision=recipe.training.precision,
    )
    fabric.launch()
    return fabric


def check_settings(recipe: Recipe) -> None:
    """Raises for a wrong name before any data are loaded."""
    if issubclass(registry.family(recipe.family), Given):
        raise InvalidConfig(
            f"family: {recipe.family} is not learned, its weights come from a file: "
            "see `latentd evaluator --help`",
            "family",
        )
    known = registry.family(recipe.family).config_type.model_fields
    for key in recipe.model:
        if key not in known:
            raise InvalidConfig(
                f"model.{key}: {recipe.family} has no such setting{nearest(key, known)}",
                f"model.{key}",
            )
    options_type(recipe.data.name.partition(":")[0])


def build_model(recipe: Recipe, data: DataSet) -> Family[FamilyConfig]:
    """A new model for the data; the seed decides its weights.

    Raises:
        InvalidConfig: a setting of [model] is unknown or does not fit the data.
    """
    config_type = registry.family(recipe.family).config_type
    try:
        config = config_type.for_data(data.shape, schema_of(data), **recipe.model)
    except ValidationError as error:
        wrong = registry.invalid_config(error, config_type, recipe.family)
        raise InvalidConfig(f"[model] for data {data.name!r}: {wrong}", wrong.param) from error
    # The one place where torch's own generator decides anything.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return registry.build(recipe.family, config)


def stage_algorithms(
    model: Family[FamilyConfig], recipe: Recipe, fabric: Fabric
) -> list[tuple[Stage, Algorithm]]:
    """The parts of a model's training, each with what learns it.

    `[training]` is for the first part, and for each other of many steps that has no settings of
    its own.

    Raises:
        InvalidConfig: the recipe has settings for a part that is none, or that mean nothing to it.
    """
    stages = stages_of(model)
    names = [stage.name for stage in stages]
    for name in recipe.stages:
        if name not in names[1:]:
            raise InvalidConfig(
                f"stages.{name}: {recipe.family} has no such part of its training after the first"
                f"{nearest(name, names[1:])}",
                f"stages.{name}",
            )
    found = []
    for index, stage in enumerate(stages):
        algorithm = algorithm_of(type(stage.learner))
        settings = recipe.training if index == 0 or issubclass(algorithm, Stepwise) else Training()
        settings = recipe.stages.get(stage.name, settings)
        found.append((stage, algorithm(stage.learner, settings, fabric)))
    return found


def _train(recipe: Recipe, place: Place, fabric: Fabric) -> Outcome | None:
    data = _load(recipe, place, fabric)
    model = build_model(recipe, data).to(fabric.device)
    parts = stage_algorithms(model, recipe, fabric)
    config = model.config
    schema = config.condition if isinstance(config, ConditionalConfig) else ConditionSchema()
    taught = config.taught if isinstance(config, TaughtConfig) else ConditionSchema()
    mode, seed = recipe.data.binarize, recipe.seed
    fixed = {name: binarized(split, mode, seed, name) for name, split in data.splits.items()}
    ready = {
        name: Rows(split.values, conditions_of(split, schema), False, conditions_of(split, taught))
        for name, split in fixed.items()
    }
    redrawn = None
    if mode == "stochastic":
        split = data.train
        redrawn = Rows(
            split.values, conditions_of(split, schema), True, conditions_of(split, taught)
        )

    def show_samples() -> bytes:
        return sample_grid(model, ready["test"], seed, fabric.device)

    # Of players in turn no loss says how good they are: one has to look.
    is_a_game = any(isinstance(stage.learner, Adversarial) for stage, _ in parts)
    measure_samples: Callable[[], dict[str, float]] = dict
    if is_a_game:
        evaluator = evaluator_of(recipe.evaluation.evaluator, config.shape, fabric.device)
        measure_samples = Diversity(model, ready["test"], evaluator, seed, fabric.device).numbers
    identity = identity_of(recipe, data.digest)
    checkpoint = _last_checkpoint(place, fabric, identity)
    standing = Standing() if checkpoint is None else standing_of(checkpoint)
    if checkpoint is not None:
        model.load_state_dict(checkpoint.part("model"))
    for index, (stage, algorithm) in enumerate(parts):
        if index < standing.stage:
            continue  # it ended before the checkpoint
        model.eval()
        train, validation = (
            seen_by(stage, ready[name], fabric.device) for name in ("train", "validation")
        )
        if checkpoint is None:
            algorithm.prepare(partial(train.in_order, ROWS_OF_A_PASS, fabric.device))
        if isinstance(algorithm, Stepwise):
            loop = Loop(
                model,
                stage,
                algorithm,
                seed,
                Standing(stage=index, first_step=standing.done),
                redrawn if redrawn is not None and stage.view is None else train,
                validation,
                place.directory.checkpoints,
                identity,
                show_samples,
                measure_samples,
            )
            standing = _run(loop, place, checkpoint)
            checkpoint = None
    if not fabric.is_global_zero:
        return None
    model.eval()
    measurements = evaluate(model, ready["test"], recipe.evaluation, seed, fabric.device)
    known = schema_of(data)
    seen, unseen = (
        labelled(
            model,
            ready[name],
            conditions_of(fixed[name], known),
            recipe.evaluation.probe_rows,
            seed,
            fabric.device,
        )
        for name in ("train", "test")
    )
    directions = directions_of(model, seen, known) if seen is not None else None
    if seen is not None and unseen is not None:
        measurements += linear_probe(seen, unseen, known)
    provenance = provenance_of(recipe, place.recipe_name, data, standing.done)
    card = model_card(model, recipe, data, provenance, measurements, place.command)
    digest = save_bundle(
        model,
        place.out,
        provenance=provenance,
        reference=reference_of(fixed, known, recipe.bundle.reference_rows, seed),
        card=card,
        grid_png=show_samples(),
        animation_webp=animation_webp(place.directory.sample_files()) if is_a_game else None,
        metrics={each.name: each.value for each in measurements},
        attribute_schema=known,
        directions=directions,
    )
    return Outcome(digest, standing.done, measurements)


def _run(loop: Loop, place: Place, checkpoint: Checkpoint | None) -> Standing:
    """One part of the training, from a checkpoint or its beginning to its end."""
    loop.set_up(checkpoint)
    with ExitStack() as stack:
        logs = None
        if loop.fabric.is_global_zero:
            logs = stack.enter_context(Logs(place.directory.path, loop.standing.done))
        loop.run(logs)
    loop.finish()
    return loop.standing


def _load(recipe: Recipe, place: Place, fabric: Fabric) -> DataSet:
    # The first process draws or downloads what the others then find.
    with fabric.rank_zero_first(local=True):
        data = load_data(recipe.data.name, recipe.data.options, place.data_root)
    if not len(data.train):
        raise InvalidConfig(f"data set {data.name!r} has no training rows", "data.name")
    if recipe.data.binarize != "none" and len(data.shape) == 1:
        raise InvalidConfig("data.binarize is about pictures; these are points", "data.binarize")
    return data


def _last_checkpoint(place: Place, fabric: Fabric, identity: dict[str, Any]) -> Checkpoint | None:
    if place.beginning != "resume":
        return None
    checkpoint = place.directory.checkpoints.read_last(fabric.print)
    if checkpoint is None:
        return None
    differing = differences(checkpoint.facts["identity"], identity)
    if differing:
        raise CannotResume(
            f"the checkpoints in {place.directory.path} are of another run: "
            f"{'; '.join(differing)}. Give what they were made with, or --restart, or another "
            "--run-dir"
        )
    fabric.print(f"continuing from step {checkpoint.step}")
    return checkpoint
