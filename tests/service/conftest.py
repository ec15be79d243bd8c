"""A real server on a real port, with a tiny bundle of every family there is."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

from service.app import create_app
from service.dependencies import Service
from service.settings import Settings, read_settings
from tests.service import bundles


class Server:
    """A running service and a client that talks to it."""

    def __init__(self, app: FastAPI, port: int) -> None:
        self.app = app
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)

    @property
    def parts(self) -> Service:
        return self.app.state.service

    def post(self, model: str, operation: str, body: dict, **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(f"/v1/models/{model}/{operation}", json=body, headers=names)

    def ask(self, model: str, operation: str, body: dict) -> dict:
        """The answer, which must be one."""
        answer = self.post(model, operation, body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def running(settings: Settings) -> Iterator[Server]:
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    found = Server(app, port)
    while found.client.get("/readyz").status_code != 200:
        time.sleep(0.05)
    try:
        yield found
    finally:
        found.client.close()
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def bundles_dir(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("bundles")
    for name, (family, shape) in bundles.supported().items():
        bundles.save(bundles.build(family, shape), directory / name)
    return directory


@pytest.fixture(scope="session")
def settings_of(bundles_dir, tmp_path_factory) -> Callable[..., Settings]:
    def make(**more) -> Settings:
        # One thread: torch's own threads wait for each other on a busy machine.
        known = {"bundles_dir": bundles_dir, "device": "cpu", "threads": 1, "log_level": "error"}
        known["state_dir"] = tmp_path_factory.mktemp("state")
        # Half a second for each thing that each of forty models does would be a minute.
        return read_settings(**{**known, "comparison_seconds": 0.1, **more})

    return make


@pytest.fixture(scope="session")
def server(settings_of) -> Iterator[Server]:
    with running(settings_of()) as found:
        yield found


@pytest.fixture
def few_bundles(bundles_dir, tmp_path_factory) -> Callable[..., Path]:
    """Makes a directory of a few of the bundles: to warm up all there are takes a minute."""

    def make(*names: str) -> Path:
        directory = tmp_path_factory.mktemp("few")
        for name in names:
            (directory / name).symlink_to(bundles_dir / name)
        return directory

    return make


@pytest.fixture
def own_server(settings_of, few_bundles) -> Iterator[Callable[..., Server]]:
    """Makes servers with settings of their own, for tests that break or fill them."""
    with_exit = []

    def make(*models: str, **settings) -> Server:
        if "bundles_dir" not in settings:
            settings["bundles_dir"] = few_bundles(*(models or ("vae-grey",)))
        manager = running(settings_of(**settings))
        with_exit.append(manager)
        return manager.__enter__()

    yield make
    for manager in with_exit:
        manager.__exit__(None, None, None)


def pytest_configure(config) -> None:
    config.addinivalue_line(
        "markers", "offering(*capabilities): once for every model that offers them, as `model`"
    )


def pytest_generate_tests(metafunc) -> None:
    for mark in metafunc.definition.iter_markers("offering"):
        kinds = mark.kwargs.get("kinds", ("pictures", "grey", "points"))
        metafunc.parametrize("model", offering(*mark.args, kinds=kinds))


def offering(*names: str, kinds: tuple[str, ...]) -> list[str]:
    """The bundles whose models offer all of these capabilities."""
    return [
        bundle
        for bundle in bundles.supported()
        if bundle.rpartition("-")[2] in kinds and bundles.capabilities(bundle).issuperset(names)
    ]


KNOWN = {"smile": True, "hair": "long", "age": 30}


def picture(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def file_of(levels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    """Levels (C, H, W) as a picture file."""
    values = levels.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(file, kind, **options)
    return file.getvalue()


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def levels_of(content: bytes | str) -> np.ndarray:
    """A picture file, or its base64, as levels (C, H, W)."""
    content = base64.b64decode(content) if isinstance(content, str) else content
    values = np.asarray(Image.open(io.BytesIO(content)))
    return (values[:, :, None] if values.ndim == 2 else values).transpose(2, 0, 1)


def inputs(model: str, count: int = 2, first: int = 0) -> dict:
    """A body with as many pictures, or points, as the model takes, and what it must be told."""
    _, shape = bundles.supported()[model]
    offered = bundles.capabilities(model)
    must_tell = "Conditional" in offered and "AttributeClassifier" not in offered
    body = {"attributes": KNOWN} if must_tell else {}
    if len(shape) == 1:
        # Where the bundles' own data were: some models know nothing of other places.
        points = np.random.default_rng(0).uniform(0.1, 0.9, (first + count, *shape))[first:]
        return {"values": points.round(3).tolist(), **body}
    files = [file_of(picture(shape, first + k)) for k in range(count)]
    return {"pictures": [text_of(file) for file in files], **body}


def shown(answer: dict) -> list:
    """What an answer shows: the pictures' files or the points' values."""
    return [each.get("png", each.get("values")) for each in answer["pictures"]]


def pixels(answer: dict) -> list:
    """What an answer shows, without what the files say of themselves."""
    return [
        levels_of(each["png"]).tolist() if "png" in each else each["values"]
        for each in answer["pictures"]
    ]
