"""A trained model on disk: training writes it, the service reads it, and nothing else passes.

A bundle is a directory as the Hugging Face hub lays one out. `config.json` holds the SHA-256 of
every other file and, over its own canonical text, of itself: that last one is the bundle's
*digest*. Reading checks everything before anything is used, and never unpickles.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.overrides import TorchFunctionMode

from models import registry
from models.capabilities import Conditional, Latent, LatentSpace, capabilities_of, offers
from models.conditions import ConditionSchema
from models.directions import Directions
from models.errors import BundleCorrupt, BundleError, BundleNotFound, LatentdError
from models.family import Family, FamilyConfig
from models.files import new_directory, write_file

FORMAT_VERSION: Literal[1] = 1
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
REFERENCE = "reference.safetensors"
CARD = "README.md"
GRID = "samples.png"
ANIMATION = "training.webp"
DIRECTIONS = "directions.safetensors"
EVALUATION = "evaluation.json"
FILES = (WEIGHTS, REFERENCE, CARD, GRID, ANIMATION, DIRECTIONS, EVALUATION)

DRAWS = (torch.Tensor.normal_, torch.Tensor.uniform_)  # that initialisation is made of

Json = Any  # whatever json.loads returns


class Provenance(BaseModel):
    """Where a bundle comes from; all that is needed to make it again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    settings: dict[str, Json] = {}
    data: str
    data_digest: str
    data_licence: str = ""
    seed: int
    steps: int = 0
    versions: dict[str, str] = {}
    commit: str | None = None
    made: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class Description(BaseModel):
    """The content of config.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    family: str
    config: dict[str, Json]
    shape: tuple[int, ...]
    value_range: tuple[float, float] = (0.0, 1.0)
    condition_schema: ConditionSchema = ConditionSchema()  # what the model is conditioned on
    attribute_schema: ConditionSchema = ConditionSchema()  # what is known of reference rows
    latent_spaces: tuple[LatentSpace, ...] = ()
    directions: tuple[str, ...] = ()  # names of those in the first latent space
    capabilities: tuple[str, ...]
    provenance: Provenance
    metrics: dict[str, float] = {}
    files: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]


@dataclass(frozen=True)
class Reference:
    """Pictures that travel with a model, so that the service can evaluate without a data set.

    Pictures are uint8 (N, C, H, W), points float32 (N, D); attributes float32 (N, A) in the
    attribute schema's columns, or None.
    """

    held_out: np.ndarray[Any, Any]
    training: np.ndarray[Any, Any]
    held_out_attributes: np.ndarray[Any, Any] | None = None
    training_attributes: np.ndarray[Any, Any] | None = None

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: np.ascontiguousarray(values)
            for name, values in named.items()
            if values is not None
        }


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle: the model, in evaluation mode, and what is written of it."""

    model: Family[FamilyConfig]
    description: Description
    digest: str
    path: Path
    card: str = field(repr=False, default="")
    directions: Directions = field(default_factory=Directions)

    def reference(self) -> Reference:
        """The reference pictures, read when asked for and checked again.

        Raises:
            BundleCorrupt: the file is missing or no longer what it was.
        """
        content = _read_checked(self.path, REFERENCE, self.description.files[REFERENCE])
        try:
            return Reference(**safetensors.numpy.load(content))
        except (safetensors.SafetensorError, TypeError) as error:
            raise BundleCorrupt(REFERENCE, "not the arrays of a reference") from error


def save_bundle(
    model: Family[FamilyConfig],
    path: Path | str,
    *,
    provenance: Provenance,
    reference: Reference,
    card: str,
    grid_png: bytes,
    metrics: Mapping[str, float] | None = None,
    animation_webp: bytes | None = None,
    attribute_schema: ConditionSchema | None = None,
    directions: Directions | None = None,
) -> str:
    """Write a bundle in one piece; an older one at `path` is replaced. Returns the digest.

    Args:
        card: the model card in Markdown with its YAML header.
        grid_png: a grid of samples as a PNG file.
        metrics: measured numbers, finite.
        attribute_schema: of the reference's attributes; None where they are the model's conditions.
        directions: in the first latent space.
    Raises:
        BundleError: the path cannot be written, or is a directory that is no bundle.
    """
    path = Path(path)
    if path.exists() and not (path / CONFIG).is_file():
        raise BundleError(f"{path} exists and is no bundle; it is left as it is")
    state = {
        # A copy of each: tied weights, which share memory, are written under every name they have.
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    contents = {
        WEIGHTS: safetensors.torch.save(state),
        REFERENCE: safetensors.numpy.save(reference.arrays()),
        CARD: card.encode(),
        GRID: grid_png,
    }
    if animation_webp is not None:
        contents[ANIMATION] = animation_webp
    if directions is not None and directions.vectors:
        contents[DIRECTIONS] = safetensors.torch.save(directions.arrays())
    description = Description(
        family=registry.name_of(model),
        config=model.config.model_dump(mode="json"),
        shape=model.config.shape,
        condition_schema=_condition_schema(model),
        attribute_schema=attribute_schema or _condition_schema(model),
        latent_spaces=_latent_spaces(model),
        directions=directions.names if directions is not None else (),
        capabilities=capabilities_of(model),
        provenance=provenance,
        metrics=dict(metrics or {}),
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    )
    return _write(path, description, contents)


def annotate_bundle(path: Path | str, *, evaluation: bytes, card: str) -> str:
    """Write an evaluation and a card that tells of it into a bundle; an earlier one is replaced.

    Nothing that it computes changes, but its digest does, which is over all of its files.

    Args:
        evaluation: the content of evaluation.json.
        card: the whole new model card.
    Returns:
        The new digest.
    Raises:
        BundleNotFound, BundleCorrupt: as `load_bundle`.
        BundleError: the path cannot be written.
    """
    path = Path(path)
    description, _ = read_description(path)
    contents = {
        name: _read_checked(path, name, expected) for name, expected in description.files.items()
    }
    contents |= {EVALUATION: evaluation, CARD: card.encode()}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return _write(path, description.model_copy(update={"files": files}), contents)


def _write(path: Path, description: Description, contents: Mapping[str, bytes]) -> str:
    """A bundle's files in one piece, and its digest."""
    text, digest = _seal(description.model_dump(mode="json"))
    try:
        with new_directory(path) as directory:
            for name, content in {**contents, CONFIG: text}.items():
                write_file(directory / name, content)
    except OSError as error:
        raise BundleError(f"cannot write the bundle {path}: {error.strerror}") from error
    return digest


def load_bundle(path: Path | str, device: torch.device | str = "cpu") -> Bundle:
    """Read a bundle, checking every byte of it.

    Returns:
        The bundle; its model is in evaluation mode on `device`, with frozen parameters.
    Raises:
        BundleNotFound: there is no bundle at `path`.
        BundleCorrupt: a file is missing, altered, or not what the configuration says;
            the message begins with the file's name.
    """
    path = Path(path)
    description, digest = read_description(path)
    contents = {
        name: _read_checked(path, name, expected) for name, expected in description.files.items()
    }
    model = build_blank(description)
    _load_weights(model, contents[WEIGHTS])
    model.eval().requires_grad_(False).to(device)
    card = contents[CARD].decode("utf-8", "replace")
    return Bundle(model, description, digest, path, card, _directions(description, contents))


def read_description(path: Path) -> tuple[Description, str]:
    """The checked content of config.json and the bundle's digest, without the weights.

    Raises:
        BundleNotFound: there is no bundle at `path`.
        BundleCorrupt: config.json was altered or is of another format.
    """
    try:
        content = (path / CONFIG).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleNotFound(f"no bundle at {path}: it has no {CONFIG}") from error
    except OSError as error:
        raise BundleCorrupt(CONFIG, f"cannot be read ({error.strerror})") from error
    try:
        document = json.loads(content)
        digest = document.pop("digest")
        # The text must be the very one that was sealed: a changed blank is a change too.
        altered = _seal(document) != (content, digest)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise BundleCorrupt(CONFIG, "altered, or not a bundle's configuration") from error
    if altered:
        raise BundleCorrupt(CONFIG, "altered: it does not have its digest")
    if document.get("format_version") != FORMAT_VERSION:
        raise BundleCorrupt(
            CONFIG, f"format version {document.get('format_version')}; this reads {FORMAT_VERSION}"
        )
    try:
        description = Description.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleCorrupt(
            CONFIG, f"not a bundle's configuration: {where}: {first['msg']}"
        ) from error
    if not {WEIGHTS, REFERENCE, CARD, GRID} <= set(description.files) <= set(FILES):
        raise BundleCorrupt(CONFIG, "lists other files than a bundle has")
    return description, digest


def build_blank(description: Description) -> Family[FamilyConfig]:
    """The described model on torch's meta device: it has shapes, but no weights and no memory.

    Raises:
        BundleCorrupt: there is no such model, or it is not as it is described.
    """
    try:
        with torch.device("meta"), _NoInitialisation():
            model = registry.build(description.family, description.config)
    except LatentdError as error:
        raise BundleCorrupt(CONFIG, str(error)) from error
    if (
        description.shape != model.config.shape
        or description.condition_schema != _condition_schema(model)
        # A family may have learned to do more since the bundle was made.
        or not set(description.capabilities) <= set(capabilities_of(model))
    ):
        raise BundleCorrupt(CONFIG, "the description does not fit the family's configuration")
    return model


class _NoInitialisation(TorchFunctionMode):
    """Leaves out `torch.nn.init`: there are no numbers to set, and torch takes seconds to import
    what it needs for setting none."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init" or func in DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def library_versions() -> dict[str, str]:
    """What the numbers of a bundle depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


def _seal(document: dict[str, Json]) -> tuple[bytes, str]:
    """The canonical text of a document with its digest, and that digest."""

    def canonical(content: dict[str, Json]) -> bytes:
        return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()

    digest = f"sha256:{hashlib.sha256(canonical(document)).hexdigest()}"
    return canonical({**document, "digest": digest}), digest


def _read_checked(path: Path, name: str, expected: str) -> bytes:
    try:
        content = (path / name).read_bytes()
    except FileNotFoundError as error:
        raise BundleCorrupt(name, "missing") from error
    except OSError as error:
        raise BundleCorrupt(name, f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise BundleCorrupt(name, "altered: it does not have the SHA-256 that config.json gives")
    return content


def _directions(description: Description, contents: Mapping[str, bytes]) -> Directions:
    if DIRECTIONS not in contents:
        return Directions()
    try:
        arrays = safetensors.torch.load(contents[DIRECTIONS])
        return Directions.of_arrays(arrays, description.latent_spaces[0].shape)
    except (safetensors.SafetensorError, ValueError, IndexError) as error:
        raise BundleCorrupt(DIRECTIONS, "not directions of the model's latents") from error


def _load_weights(model: Family[FamilyConfig], content: bytes) -> None:
    try:
        found = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise BundleCorrupt(WEIGHTS, "not a safetensors file") from error
    expected = model.state_dict()
    if missing := sorted(expected.keys() - found.keys()):
        raise BundleCorrupt(WEIGHTS, f"lacks the tensor {missing[0]}")
    if extra := sorted(found.keys() - expected.keys()):
        raise BundleCorrupt(WEIGHTS, f"has a tensor that the model has not: {extra[0]}")
    for name, tensor in expected.items():
        wanted, came = (tensor.shape, tensor.dtype), (found[name].shape, found[name].dtype)
        if wanted != came:
            raise BundleCorrupt(WEIGHTS, f"{name} should be {wanted}, is {came}")
    model.load_state_dict(found, assign=True)


def _latent_spaces(model: Family[FamilyConfig]) -> tuple[LatentSpace, ...]:
    return model.latent_spaces if isinstance(model, Latent) and offers(model, Latent) else ()


def _condition_schema(model: Family[FamilyConfig]) -> ConditionSchema:
    return model.condition_schema if isinstance(model, Conditional) else ConditionSchema()
