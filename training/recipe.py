"""A recipe: everything a run depends on, in one TOML file, every key checked.

The recipes that come along are the files in `recipes/`; a recipe's name is its file's name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from models.errors import InvalidConfig, UnknownName, nearest

FOLDER = Path(__file__).parent / "recipes"
LARGEST_SEED = 2**53 - 1  # as models.noise has it, which imports torch


class _Section(BaseModel):
    # strict: "3" is no number and true is not 1.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(_Section):
    name: str
    options: dict[str, Any] = {}
    binarize: Literal["none", "stochastic", "threshold"] = "none"


class Training(_Section):
    """How the model is learned. What an algorithm has no use for must not be given."""

    epochs: PositiveInt | None = None  # epochs or steps
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 100  # of all processes together
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.999)  # adam, adamw
    momentum: NonNegativeFloat = 0.0  # sgd, rmsprop
    # Of sgd, until `momentum` takes over (Hinton, 2012, "A practical guide to training restricted
    # Boltzmann machines", section 9: 0.5, and 0.9 once the error has settled).
    first_momentum: NonNegativeFloat | None = None
    first_momentum_steps: PositiveInt | None = None
    weight_decay: NonNegativeFloat = 0.0
    schedule: Literal["constant", "cosine", "linear", "exponential"] = "constant"
    warm_up_steps: NonNegativeInt = 0
    gradient_clip: PositiveFloat | None = None  # largest norm of the gradient
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None  # decay of the averaged weights
    discriminator_learning_rate: PositiveFloat | None = None  # None: the generator's
    discriminator_steps: PositiveInt = 1  # for each step of the generator
    # Weight of each player's squared distance from the mean of its past weights (Salimans et al.,
    # 2016, arXiv:1606.03498, section 3.3).
    historical_averaging: PositiveFloat | None = None
    early_stop: PositiveInt | None = None  # validations without a better one
    keep_best: bool = False  # the weights of the best validation, not the last
    validate_every: PositiveInt | None = None  # steps; None: once an epoch
    sample_every: PositiveInt | None = None  # steps; None: once an epoch
    checkpoint_every: PositiveInt | None = None  # steps; None: by minutes alone
    checkpoint_minutes: PositiveFloat = 5.0
    log_every: PositiveInt = 50  # steps
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = self.model_fields_set
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps say the same; give one")
        if self.optimizer in ("adam", "adamw") and "momentum" in given:
            raise ValueError(f"momentum is not for {self.optimizer}; give betas")
        if self.optimizer in ("sgd", "rmsprop") and "betas" in given:
            raise ValueError(f"betas are not for {self.optimizer}; give momentum")
        if (self.first_momentum is None) != (self.first_momentum_steps is None):
            raise ValueError("first_momentum and first_momentum_steps go together")
        if self.first_momentum is not None and self.optimizer != "sgd":
            raise ValueError("first_momentum is for sgd")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas lie from 0 to below 1, got {self.betas}")
        return self


class Evaluation(_Section):
    """What is measured on the test split after training."""

    rows: PositiveInt = 10_000  # at most
    likelihood_effort: PositiveInt = 1  # samples of a bound or estimate, where it takes any
    likelihood_rows: PositiveInt | None = None  # None: as many as `rows`
    search_rows: PositiveInt = 64  # where encoding a picture is a search
    # Of each split, whose latents are looked at for attributes; a linear model of some hundred
    # numbers learns little from more.
    probe_rows: PositiveInt = 5000
    # A bundle that tells attributes: how many of their values a generator's samples show is logged
    # while it learns. None: not looked at.
    evaluator: str | None = None


class Bundling(_Section):
    reference_rows: Annotated[int, Field(ge=1, le=10_000)] = 1000  # held out, and of training


class Recipe(_Section):
    family: str
    description: str = ""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    data: Data
    model: dict[str, Any] = {}  # the family's own configuration
    training: Training = Training()
    stages: dict[str, Training] = {}  # for those after the first, by name
    evaluation: Evaluation = Evaluation()
    bundle: Bundling = Bundling()

    def settings(self) -> dict[str, Any]:
        """All values, those left out with their defaults, as JSON has them."""
        return self.model_dump(mode="json")


def names() -> tuple[str, ...]:
    """The recipes that come along."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.toml")))


def find(recipe: str) -> Path:
    """The file of a recipe that is given by name or by path.

    Raises:
        UnknownName: there is no such recipe; the message names the nearest.
        InvalidConfig: there is no such file.
    """
    if recipe.endswith(".toml"):
        if not Path(recipe).is_file():
            raise InvalidConfig(f"no file {recipe}", "recipe")
        return Path(recipe)
    if recipe not in names():
        raise UnknownName(f"no recipe {recipe!r}{nearest(recipe, names())}", "recipe")
    return FOLDER / f"{recipe}.toml"


def read_recipe(
    path: Path, overrides: Iterable[str] = (), data: str | None = None, seed: int | None = None
) -> Recipe:
    """A recipe from its file.

    Args:
        overrides: `section.key=value`, the value as TOML has it; a bare word is a string.
        data: a data set to take instead; another one takes its options' defaults.
        seed: to take instead.
    Raises:
        InvalidConfig: the file is no TOML, a key is unknown, or a value out of range; the
            message names file and key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path.name}: not TOML: {error}", "recipe") from error
    except OSError as error:
        raise InvalidConfig(f"{path}: cannot be read ({error.strerror})", "recipe") from error
    section = content.get("data")
    if data is not None and isinstance(section, dict) and section.get("name") != data:
        content["data"] = {**section, "name": data, "options": {}}
    if seed is not None:
        content["seed"] = seed
    for override in overrides:
        _override(content, override)
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _invalid(error, path) from error


def parse_override(text: str) -> tuple[str, Any]:
    """`key=value` to the key and the value as TOML has it; a bare word is a string.

    >>> parse_override("training.epochs=3"), parse_override("data.name=faces")
    (('training.epochs', 3), ('data.name', 'faces'))

    Raises:
        InvalidConfig: it has another form.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not all(key.split(".")):
        raise InvalidConfig(f"--set {text!r}: expected key=value, as in training.epochs=3", key)
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        if re.fullmatch(r"[A-Za-z][\w:/.-]*", value):
            return key, value
        raise InvalidConfig(
            f'--set {key}: {value!r} is no TOML value (3, 0.5, true, [1, 2], "text")', key
        ) from error


def _override(content: dict[str, Any], text: str) -> None:
    key, value = parse_override(text)
    *sections, last = key.split(".")
    section = content
    for part in sections:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise InvalidConfig(f"--set {key}: {part} is a value, not a section", key)
    section[last] = value


def _invalid(error: ValidationError, path: Path) -> InvalidConfig:
    """A readable error for the first thing that pydantic found wrong."""
    first = error.errors(include_url=False, include_context=False)[0]
    *sections, last = (str(part) for part in first["loc"]) if first["loc"] else ("recipe",)
    key = ".".join([*sections, last])
    if first["type"] == "extra_forbidden":
        known = _section_type(sections).model_fields
        return InvalidConfig(f"{path.name}: unknown key {key!r}{nearest(last, known)}", key)
    if first["type"] == "missing":
        return InvalidConfig(f"{path.name}: {key} is missing", key)
    reason = first["msg"].removeprefix("Value error, ")
    came = "" if first["type"] == "value_error" else f", got {first['input']!r}"
    return InvalidConfig(f"{path.name}: {key}: {reason}{came}", key)


def _section_type(sections: list[str]) -> type[BaseModel]:
    found: type[BaseModel] = Recipe
    for name in sections:
        annotation = found.model_fields[name].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found = annotation
    return found
