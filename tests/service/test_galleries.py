"""Users' own pictures: kept, changed, shared by processes, and never lost once it was answered."""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import InvalidConfig, InvalidInput
from service.errors import DuplicateGallery, NoGalleries, UnknownGallery, UnknownItem
from service.galleries import FILE, Galleries, Item, id_of
from service.settings import Limits
from tests.service.conftest import file_of, picture, running, text_of
from tests.service.test_errors import problem

SHAPE = (1, 8, 8)


def item(seed, id=None, label=None):
    return Item(id or f"item-{seed}", label, torch.from_numpy(picture(SHAPE, seed)))


@pytest.fixture
def galleries(tmp_path):
    found = Galleries(tmp_path / "kept", Limits(galleries=3, gallery_items=5))
    yield found
    found.close()


def test_what_was_put_in_is_there_after_a_restart(galleries, tmp_path):
    galleries.create("mine", SHAPE)
    galleries.put("mine", [item(1), item(2, label="two")])
    galleries.close()
    again = Galleries(tmp_path / "kept", Limits())
    mine = again.get("mine")
    assert (mine.shape, mine.items, mine.version) == (SHAPE, 2, 1)
    listing = again.listing(mine.key)
    assert (listing.ids, listing.labels) == (("item-1", "item-2"), (None, "two"))
    pixels = again.pixels(mine, listing.numbers[::-1])
    assert (pixels.numpy() == np.stack([picture(SHAPE, 2), picture(SHAPE, 1)])).all()
    again.close()


def test_the_same_id_replaces_under_a_number_of_its_own(galleries):
    galleries.create("mine", SHAPE)
    galleries.put("mine", [item(1), item(2)])
    key = galleries.get("mine").key
    before = galleries.listing(key).numbers
    found = galleries.put("mine", [item(9, id="item-1"), item(3)])
    assert (found.added, found.replaced, found.gallery.items) == (1, 1, 3)
    listing = galleries.listing(key)
    assert listing.ids == ("item-2", "item-1", "item-3")
    assert set(listing.numbers) & set(before) == {before[1]}
    assert galleries.pixels(galleries.get("mine"), before) is None


def test_a_gallery_made_anew_is_another(galleries):
    first = galleries.create("mine", SHAPE)
    galleries.put("mine", [item(1)])
    galleries.delete("mine")
    second = galleries.create("mine", SHAPE)
    assert second.key != first.key
    assert second.items == 0
    with pytest.raises(UnknownGallery):
        galleries.version(first.key)
    with pytest.raises(UnknownGallery):  # its shape is another than when the pictures were read
        galleries.put("mine", [Item("a", None, torch.zeros(3, 8, 8, dtype=torch.uint8))])


def test_limits_hold_and_what_is_too_much_leaves_nothing(galleries):
    for name in "abc":
        galleries.create(name, SHAPE)
    with pytest.raises(InvalidInput, match="3 galleries"):
        galleries.create("d", SHAPE)
    with pytest.raises(DuplicateGallery):
        galleries.create("a", SHAPE)
    galleries.put("a", [item(k) for k in range(4)])
    with pytest.raises(InvalidInput, match="at most 5") as caught:
        galleries.put("a", [item(8), item(9)])
    assert caught.value.param == "pictures"
    assert (galleries.get("a").items, galleries.get("a").version) == (4, 1)
    galleries.put("a", [item(k) for k in range(5)])  # four of them in their own places
    galleries.delete_item("a", "item-0")
    with pytest.raises(UnknownItem):
        galleries.delete_item("a", "item-0")


def test_without_a_directory_there_are_none():
    galleries = Galleries(None, Limits())
    for call in (galleries.all, lambda: galleries.create("a", SHAPE)):
        with pytest.raises(NoGalleries, match="galleries_dir"):
            call()


def test_a_directory_or_a_file_that_is_none_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / FILE).write_text("no database, and long enough to be taken for the head of one")
    for directory in (tmp_path / "file", tmp_path):
        with pytest.raises(InvalidConfig) as caught:
            Galleries(directory, Limits())
        assert caught.value.param == "galleries_dir"


def test_a_file_of_a_later_format_is_left_alone(tmp_path):
    Galleries(tmp_path, Limits()).close()
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("PRAGMA user_version = 9")
    file.close()
    with pytest.raises(InvalidConfig, match="format 9"):
        Galleries(tmp_path, Limits())


def test_many_who_open_and_write_at_once_lose_nothing(tmp_path):
    limits, start = Limits(), threading.Barrier(4)

    def write(number):
        start.wait()
        galleries = Galleries(tmp_path, limits)
        try:
            with contextlib.suppress(DuplicateGallery):
                galleries.create("mine", SHAPE)
            for k in range(10):
                galleries.put("mine", [item(k, id=f"{number}-{k}")])
        finally:
            galleries.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    galleries = Galleries(tmp_path, limits)
    assert (galleries.get("mine").items, galleries.get("mine").version) == (40, 40)
    galleries.close()


@pytest.fixture(scope="module")
def directory(bundles_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("served")
    shutil.copytree(bundles_dir / "pca-grey", directory / "pca-grey")
    return directory


@pytest.fixture
def start(directory, tmp_path):
    """Starts services that share a directory of galleries."""
    started = []

    def start(*flags):
        command = [sys.executable, "-m", "service", "--bundles-dir", str(directory), "--port", "0"]
        options = ["--threads", "1", "--device", "cpu", "--log-level", "error"]
        environment = {**os.environ, "LATENTD_GALLERIES_DIR": str(tmp_path / "galleries")}
        process = subprocess.Popen(
            [*command, *options, *flags], stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        url = next(line.split()[2] for line in process.stdout if "serves http" in line)
        return process, url

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=60)


def create(url, name="mine", shape=SHAPE):
    return httpx.post(f"{url}/v1/galleries", json={"name": name, "shape": list(shape)}, timeout=60)


def send(url, seeds, **more):
    files = [text_of(file_of(picture(SHAPE, seed))) for seed in seeds]
    body = {"pictures": files, "ids": [f"item-{seed}" for seed in seeds], **more}
    return httpx.post(f"{url}/v1/galleries/mine/items", json=body, timeout=60)


def nearest(url, seed, **more):
    """The ids of those nearest to a picture, on a connection of its own."""
    body = {"pictures": [text_of(file_of(picture(SHAPE, seed)))], "gallery": "mine", **more}
    answer = httpx.post(f"{url}/v1/models/pca-grey/neighbours", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["rows"][0]["neighbours"]]


def test_what_was_answered_survives_kill_9_at_any_moment(start):
    process, url = start()
    assert create(url).status_code == 201
    answered = []
    is_dead = threading.Event()

    def write():
        for first in range(0, 10_000, 7):
            seeds = range(first, first + 7)
            try:
                answer = send(url, seeds)
            except httpx.TransportError:
                break
            if answer.status_code == 200:
                answered.extend(seeds)
        is_dead.set()

    writer = threading.Thread(target=write)
    writer.start()
    while len(answered) < 70:
        assert not is_dead.is_set()
    os.kill(process.pid, signal.SIGKILL)
    writer.join()
    _, url = start()
    known = httpx.get(f"{url}/v1/galleries/mine").json()
    # All that was answered and, at most, the one request more that nobody was told of; whole.
    assert known["items"] in (len(answered), len(answered) + 7)
    assert known["version"] == known["items"] // 7
    for seed in (answered[0], answered[-1]):
        for space in ("pixel", "latent"):
            assert nearest(url, seed, space=space, k=1) == [f"item-{seed}"]


def test_workers_see_each_others_changes_at_once(start):
    process, url = start("--workers", "2")
    assert create(url).status_code == 201
    for seed in range(6):
        space = ("pixel", "latent")[seed % 2]
        assert send(url, [seed]).json()["items"] == seed + 1
        for _ in range(6):  # each time whichever worker the kernel gives it to
            assert nearest(url, seed, space=space)[0] == f"item-{seed}"
            assert len(nearest(url, seed, space=space)) == seed + 1
    assert httpx.delete(f"{url}/v1/galleries/mine/items/item-3").status_code == 200
    for _ in range(6):
        assert "item-3" not in nearest(url, 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.fixture(scope="module")
def served(settings_of, directory, tmp_path_factory):
    limits = {"gallery_items": 20, "rows": 12}
    kept = tmp_path_factory.mktemp("kept")
    with running(settings_of(bundles_dir=directory, galleries_dir=kept, limits=limits)) as found:
        yield found


@pytest.fixture
def mine(served):
    """The URL of an empty gallery."""
    served.client.delete("/v1/galleries/mine")
    assert create(served.url).status_code == 201
    return f"{served.url}/v1/galleries/mine"


def test_a_gallery_is_made_listed_described_and_deleted(served, mine):
    made = served.client.get("/v1/galleries/mine").json()
    assert (made["name"], made["shape"], made["items"], made["version"]) == (
        "mine",
        [1, 8, 8],
        0,
        0,
    )
    assert made in served.client.get("/v1/galleries").json()["galleries"]
    problem(create(served.url), 409)
    assert served.client.delete("/v1/galleries/mine").json() == {"deleted": "mine"}
    for method in ("GET", "DELETE"):
        problem(served.client.request(method, "/v1/galleries/mine"), 404)
    problem(send(served.url, [1]), 404)


def test_items_are_named_by_their_pixels_where_they_are_not_named(served, mine):
    files = [text_of(file_of(picture(SHAPE, seed))) for seed in (1, 2, 1)]
    answer = httpx.post(f"{mine}/items", json={"pictures": files}).json()
    wanted = [id_of(torch.from_numpy(picture(SHAPE, seed))) for seed in (1, 2, 1)]
    assert (answer["ids"], answer["items"], answer["added"]) == (wanted, 2, 2)
    again = httpx.post(f"{mine}/items", json={"pictures": files}).json()
    assert (again["items"], again["added"], again["replaced"]) == (2, 0, 2)


def test_items_come_as_multipart_too(served, mine):
    files = [("pictures", ("a", file_of(picture(SHAPE, seed)))) for seed in (1, 2)]
    data = {"ids": json.dumps(["a", "b"]), "labels": json.dumps(["one", None])}
    answer = httpx.post(f"{mine}/items", files=files, data=data)
    assert answer.json()["ids"] == ["a", "b"]
    assert nearest(served.url, 1, k=1) == ["a"]


def test_pictures_of_another_size_are_fitted_or_refused(served, mine):
    large = text_of(file_of(picture((3, 16, 24), 1)))
    refused = httpx.post(f"{mine}/items", json={"pictures": [large]})
    assert problem(refused, 422)["param"] == "pictures[0]"
    fitted = httpx.post(f"{mine}/items", json={"pictures": [large], "fit": "resize", "ids": ["a"]})
    assert fitted.json()["items"] == 1
    body = {"pictures": [large], "fit": "resize", "gallery": "mine"}
    found = served.ask("pca-grey", "neighbours", body)["rows"][0]["neighbours"][0]
    assert (found["id"], found["distance"]) == ("a", 0)


FILE_1 = text_of(file_of(picture(SHAPE, 1)))
WRONG_ITEMS = [
    ({}, "pictures"),
    ({"pictures": []}, "pictures"),
    ({"pictures": ["x"]}, "pictures[0]"),
    ({"pictures": [FILE_1, text_of(b"SECRET")]}, "pictures[1]"),
    ({"pictures": [FILE_1], "ids": []}, "ids"),
    ({"pictures": [FILE_1], "ids": ["a", "b"]}, "ids"),
    ({"pictures": [FILE_1] * 2, "ids": ["a", "a"]}, "ids[1]"),
    ({"pictures": [FILE_1], "ids": ["../SECRET"]}, "ids[0]"),
    ({"pictures": [FILE_1], "ids": ["a" * 201]}, "ids[0]"),
    ({"pictures": [FILE_1], "ids": [1]}, "ids[0]"),
    ({"pictures": [FILE_1], "labels": ["a", "b"]}, "labels"),
    ({"pictures": [FILE_1], "labels": [""]}, "labels[0]"),
    ({"pictures": [FILE_1], "fit": "SECRET"}, "fit"),
    ({"pictures": [FILE_1], "SECRET": 1}, None),
    ({"pictures": [FILE_1] * 13}, "pictures"),
]


@pytest.mark.parametrize(("body", "param"), WRONG_ITEMS)
def test_wrong_items_change_nothing(served, mine, body, param):
    found = problem(httpx.post(f"{mine}/items", json=body), 422)
    assert (found["param"] or None) == param
    assert httpx.get(mine).json()["version"] == 0


def test_a_full_gallery_says_so(served, mine):
    assert send(served.url, range(12)).status_code == 200
    found = problem(send(served.url, range(12, 24)), 422)
    assert (found["param"], httpx.get(mine).json()["items"]) == ("pictures", 12)


WRONG_GALLERIES = [
    ({"shape": [1, 8, 8]}, "name"),
    ({"name": "a"}, "shape"),
    ({"name": "A", "shape": [1, 8, 8]}, "name"),
    ({"name": "-a", "shape": [1, 8, 8]}, "name"),
    ({"name": "a/b", "shape": [1, 8, 8]}, "name"),
    ({"name": "a" * 65, "shape": [1, 8, 8]}, "name"),
    ({"name": "a\n", "shape": [1, 8, 8]}, "name"),
    ({"name": "a", "shape": [8, 8]}, "shape"),
    ({"name": "a", "shape": [2, 8, 8]}, "shape[0]"),
    ({"name": "a", "shape": [1, 0, 8]}, "shape[1]"),
    ({"name": "a", "shape": [1, 8, 4097]}, "shape[2]"),
    ({"name": "a", "shape": [3, 4096, 4096]}, "shape"),
    ({"name": "a", "shape": [1, 8, 8.5]}, "shape[2]"),
]


@pytest.mark.parametrize(("body", "param"), WRONG_GALLERIES)
def test_a_wrong_gallery_is_refused(served, body, param):
    found = problem(httpx.post(f"{served.url}/v1/galleries", json=body), 422)
    assert found["param"] == param


def test_what_is_not_there_cannot_be_deleted(served, mine):
    problem(httpx.delete(f"{mine}/items/none"), 404)
    problem(httpx.delete(f"{mine}/items/..%2f.."), 404)
    problem(httpx.delete(f"{served.url}/v1/galleries/SECRET%00"), 404)


def test_a_service_without_galleries_answers_501(server):
    for answer in (server.client.get("/v1/galleries"), create(server.url)):
        assert "galleries_dir" in problem(answer, 501)["detail"]


def test_a_picture_that_lies_in_its_header_is_refused(served, mine, tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (5000, 5000)).save(path)
    answer = httpx.post(f"{mine}/items", json={"pictures": [text_of(path.read_bytes())]})
    assert problem(answer, 422)["param"] == "pictures[0]"
