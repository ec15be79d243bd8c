"""Everything that can be set: flags before `LATENTD_*` variables before a TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from models.errors import InvalidConfig, nearest


class Limits(BaseModel):
    """What one request may ask for. Each can be seen in `GET /v1/models/{name}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: PositiveInt = 512  # pictures, of one request, in or out
    stream_rows: PositiveInt = 1_000_000  # of an answer in lines, which is made while it is sent
    pixels: PositiveInt = 2**24  # of all pictures of a request together, in or out
    body_bytes: PositiveInt = 32 * 2**20
    json_depth: PositiveInt = 16
    parts: PositiveInt = 1024  # of a multipart body
    points: PositiveInt = 256  # of an interpolation, or of all terms of a sum
    terms: PositiveInt = 64
    effort_rows: PositiveInt = 50_000  # effort times pictures of a likelihood
    galleries: PositiveInt = 64
    gallery_items: PositiveInt = 100_000  # beyond as many, neighbours are no longer exact
    evaluation_rows: PositiveInt = 50_000  # samples of an evaluation
    evaluation_pixels: PositiveInt = 2**28  # of all of them together; a float each in memory
    evaluation_effort_rows: PositiveInt = 1_000_000  # effort times rows of its likelihood
    jobs: PositiveInt = 100  # that are not over yet


class Settings(BaseSettings):
    """The service's settings. Read-only; an unknown key in the file is an error."""

    model_config = SettingsConfigDict(
        env_prefix="LATENTD_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
    )

    config: Path | None = None  # the TOML file, itself no key of the file

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000  # 0 takes a free one
    bundles_dir: Path = Path("bundles")
    bundles: tuple[Path, ...] = ()
    galleries_dir: Path | None = None  # of users' own pictures (galleries.db); None: none are kept

    state_dir: Path = Path()  # where jobs are kept (latentd-jobs.db, made with the first of them)
    jobs_url: str | None = None  # sqlite:///FILE or postgresql://...; else in state_dir
    job_lease_seconds: PositiveFloat = 15.0  # after which a process that says nothing has died
    job_attempts: PositiveInt = 10  # times that a job is begun without getting any further
    job_keep_days: PositiveFloat = 30.0  # for which a job that is over is kept

    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: PositiveInt = 1  # processes on the one port, each with an engine and models of its own
    threads: PositiveInt | None = None  # of one pass on a CPU; torch's own choice where absent
    coding_threads: PositiveInt = 2  # that read and write pictures
    determinism: Literal["strict", "fast"] = "strict"
    batch_rows: PositiveInt = 8  # the batch shape that every model's work can run in
    # For each thing that a model does, to find other shapes that give the same bytes: more of them
    # make the service quicker under load, and its start slower.
    comparison_seconds: PositiveFloat = 0.5
    precision: Literal["float32", "bfloat16", "float16"] = "float32"

    queue_seconds: PositiveFloat = 10.0  # of work that may wait before callers are turned away
    caller_share: Annotated[float, Field(gt=0, le=1)] = 0.5  # of it, of one caller
    caller_header: str | None = None  # names the caller; else the address does
    step_timeout_seconds: PositiveFloat = 60.0  # after which a step is taken for hung

    model_bytes: PositiveInt | None = None  # that all models in memory may take together
    pinned: tuple[str, ...] = ()  # models that are never put out for others
    preload: bool = True  # load all models at the start, as far as there is room
    watch_seconds: PositiveFloat | None = None  # how often to look for new bundles; else on request

    request_timeout_seconds: PositiveFloat = 300.0
    graceful_shutdown_seconds: PositiveInt = 30
    cors_origins: tuple[str, ...] = ()

    traces: bool = False  # OpenTelemetry spans, sent where OTEL_* variables say
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    limits: Limits = Limits()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given = init_settings() if isinstance(init_settings, InitSettingsSource) else {}
        path = given.get("config") or os.environ.get("LATENTD_CONFIG")
        if not path:
            return init_settings, env_settings
        content = _read_file(Path(path))
        return init_settings, env_settings, InitSettingsSource(settings_cls, content)


def read_settings(**flags: object) -> Settings:
    """The settings; flags that are None were not given.

    Raises:
        InvalidConfig: a key is unknown or a value out of range; the message names it.
    """
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidConfig(f"setting {key}: {message}" if key else message, key) from error


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidConfig(f"cannot read {path}: {error.strerror}", "config") from error
    except ValueError as error:
        raise InvalidConfig(f"{path} is not TOML: {error}", "config") from error
    known = Settings.model_fields.keys() - {"config"}
    _check_keys(content, known, str(path))
    limits = content.get("limits")
    if isinstance(limits, dict):
        _check_keys(limits, Limits.model_fields.keys(), f"{path}, [limits]")
    return content


def _check_keys(content: dict[str, Any], known: Any, where: str) -> None:
    for key in content:
        if key not in known:
            raise InvalidConfig(f"{where}: unknown setting {key!r}{nearest(key, known)}", key)
