"""The nearest pictures, of a bundle's own and of galleries."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy
import torch

from service.gallery_codes import PIECE
from service.routes.neighbours import NeighboursAnswer
from service.search import packed
from tests.service import bundles
from tests.service.conftest import (
    file_of,
    inputs,
    levels_of,
    offering,
    picture,
    running,
    text_of,
)

ZERO = {"smile": True, "hair": "long", "age": 40}  # what the references of conditional models are


def zeros(model):
    """A body with what all reference rows of the bundles are."""
    _, shape = bundles.supported()[model]
    body = {"attributes": ZERO} if "Conditional" in bundles.capabilities(model) else {}
    if len(shape) == 1:
        return {"values": [[0.0] * shape[0]], **body}
    return {"pictures": [text_of(file_of(np.zeros(shape, np.uint8)))], **body}


def ask(server, model, body):
    answer = server.ask(model, "neighbours", body)
    NeighboursAnswer.model_validate(answer)
    return answer


def check_zero_is_found(answer):
    assert (answer["items"], answer["exact"], answer["gallery"]) == (4, True, None)
    (row,) = answer["rows"]
    assert [each["index"] for each in row["neighbours"]] == [0, 1, 2]
    assert [each["distance"] for each in row["neighbours"]] == [0, 0, 0]


@pytest.mark.offering
def test_a_reference_picture_is_its_own_neighbour_pixel_by_pixel(server, model):
    body = {**zeros(model), "k": 3}
    body.pop("attributes", None)
    check_zero_is_found(ask(server, model, body))


@pytest.mark.offering("Encoder")
def test_a_reference_picture_is_its_own_neighbour_among_latents(server, model):
    check_zero_is_found(ask(server, model, {**zeros(model), "k": 3, "space": "latent"}))
    found = ask(server, model, {**inputs(model), "space": "latent"})
    means = [np.array(each["mean"]) for each in _encoded(server, model, inputs(model))]
    zero = np.array(_encoded(server, model, zeros(model))[0]["mean"])
    for row, mean in zip(found["rows"], means, strict=True):
        assert len(row["neighbours"]) == 4
        for each in row["neighbours"]:
            assert each["distance"] == pytest.approx(np.linalg.norm(mean - zero), rel=1e-6)


def _encoded(server, model, body):
    return server.ask(model, "encode", body)["latents"]


@pytest.mark.offering("BinaryCodes")
def test_a_reference_picture_is_its_own_neighbour_among_codes(server, model):
    body = zeros(model)
    body.pop("attributes", None)
    check_zero_is_found(ask(server, model, {**body, "k": 3, "space": "code"}))
    served = server.parts.catalog.entry(model).served.model
    _, shape = bundles.supported()[model]
    code = bytes(packed(served.binary_codes(torch.zeros(1, *shape)))[0].tolist())
    check_zero_is_found(ask(server, model, {"codes": [code.hex()], "k": 3, "space": "code"}))
    other = bytes(255 - each for each in code)
    found = ask(server, model, {"codes": [other.hex()], "k": 1, "space": "code"})
    assert found["rows"][0]["neighbours"][0]["distance"] == served.bits
    answer = server.post(model, "neighbours", {"codes": ["00" * 999], "space": "code"})
    assert (answer.status_code, answer.json()["param"]) == (422, "codes[0]")


WRONG = [
    ("walk-grey", {"space": "latent"}, "space"),
    ("vae-pictures", {"space": "code"}, "space"),
    ("vae-pictures", {"k": 0}, "k"),
    ("vae-pictures", {"k": 101}, "k"),
    ("vae-pictures", {"space": "x"}, "space"),
    ("vae-pictures", {"codes": ["00"]}, "pictures"),
    ("vae-pictures", {"pictures": None}, "pictures"),
    ("vae-pictures", {"pictures": None, "codes": ["00"]}, "codes"),
    ("vae-pictures", {"pictures": None, "codes": ["0"]}, "codes[0]"),
    ("vae-pictures", {"attributes": {"smile": True}}, "attributes"),
    ("vae-pictures", {**inputs("vae-pictures", 6), "return_pictures": True, "k": 100}, "k"),
    ("vae-points", {"fit": "resize"}, "fit"),
    ("cvae-pictures", {"attributes": {"x": 1}, "space": "latent"}, "attributes"),
]


@pytest.mark.parametrize(("model", "more", "param"), WRONG)
def test_what_does_not_apply_is_an_error(server, model, more, param):
    kind = "values" if model.endswith("points") else "pictures"
    body = {kind: inputs(model)[kind], **more}
    answer = server.post(model, "neighbours", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["param"] == param


def test_a_service_without_galleries_says_what_to_set(server):
    answer = server.post("vae-grey", "neighbours", {**inputs("vae-grey"), "gallery": "a"})
    assert answer.status_code == 501
    assert "galleries_dir" in answer.json()["detail"]


def test_pictures_and_what_is_known_of_them_come_along(server):
    body = {**zeros("cvae-pictures"), "k": 2, "return_pictures": True}
    body.pop("attributes")
    (row,) = ask(server, "cvae-pictures", body)["rows"]
    for each in row["neighbours"]:
        assert not levels_of(each["png"]).any()
        assert each["attributes"] == ZERO
    points = {**zeros("vae-points"), "return_pictures": True}
    (row,) = ask(server, "vae-points", points)["rows"]
    assert [each["values"] for each in row["neighbours"]] == [[0.0, 0.0]] * 4


@pytest.fixture(scope="module")
def gallery_server(settings_of, bundles_dir, tmp_path_factory):
    few, directory = tmp_path_factory.mktemp("few"), tmp_path_factory.mktemp("galleries")
    for name in {model for model, _ in ITS_OWN} | {*HASHING}:
        (few / name).symlink_to(bundles_dir / name)
    with running(settings_of(bundles_dir=few, galleries_dir=directory)) as found:
        for name, shape in (("grey", bundles.GREY), ("pictures", bundles.PICTURE)):
            body = {"name": name, "shape": list(shape)}
            assert found.client.post("/v1/galleries", json=body).status_code == 201
            put(found, name, shape, range(PIECE + 9))
        yield found


def put(server, name, shape, seeds, **more):
    files = [text_of(file_of(picture(shape, seed))) for seed in seeds]
    ids = [f"item-{seed}" for seed in seeds]
    body = {"pictures": files, "ids": ids, **more}
    answer = server.client.post(f"/v1/galleries/{name}/items", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


HASHING = offering("BinaryCodes", kinds=("pictures", "grey"))
ITS_OWN = [
    ("dcgan-pictures", "pixel"),
    ("vae-grey", "pixel"),
    ("vae-grey", "latent"),
    ("vae-pictures", "latent"),
    ("pca-grey", "latent"),
    ("cvae-grey", "latent"),  # which predicts the attributes of what it encodes
]


@pytest.mark.parametrize(("model", "space"), ITS_OWN)
def test_every_item_of_a_gallery_is_its_own_nearest(gallery_server, model, space):
    _, shape = bundles.supported()[model]
    name = "grey" if shape == bundles.GREY else "pictures"
    files = [text_of(file_of(picture(shape, seed))) for seed in range(PIECE + 9)]
    answer = ask(
        gallery_server, model, {"pictures": files, "space": space, "gallery": name, "k": 5}
    )
    assert answer["items"] == PIECE + 9
    for seed, row in enumerate(answer["rows"]):
        assert row["row"] == seed
        first, *others = row["neighbours"]
        assert (first["id"], first["distance"]) == (f"item-{seed}", 0)
        distances = [each["distance"] for each in others]
        assert distances[0] > 0
        assert distances == sorted(distances)


@pytest.mark.parametrize("model", HASHING)
def test_codes_of_a_gallery_are_compared_bit_by_bit(gallery_server, model):
    _, shape = bundles.supported()[model]
    name = "grey" if shape == bundles.GREY else "pictures"
    pictures = [picture(shape, seed) for seed in range(PIECE + 9)]
    body = {"pictures": [text_of(file_of(each)) for each in pictures[:5]], "space": "code"}
    answer = ask(gallery_server, model, {**body, "gallery": name, "k": 100})
    x = torch.from_numpy(np.stack(pictures)).float() / 255
    codes = gallery_server.parts.catalog.entry(model).served.model.binary_codes(x)
    for seed, row in enumerate(answer["rows"]):
        wanted = (codes != codes[seed]).sum(dim=1)
        order = wanted.sort(stable=True).indices.tolist()
        assert [each["id"] for each in row["neighbours"]] == [f"item-{k}" for k in order]
        assert [each["distance"] for each in row["neighbours"]] == wanted[order].tolist()


def test_pixel_distances_are_those_of_pictures_in_0_1(gallery_server):
    body = {"pictures": [text_of(file_of(picture(bundles.GREY, 3)))], "gallery": "grey", "k": 100}
    answer = ask(gallery_server, "vae-grey", {**body, "return_pictures": True})
    x = picture(bundles.GREY, 3) / 255
    assert len(answer["rows"][0]["neighbours"]) == PIECE + 9
    for each in answer["rows"][0]["neighbours"]:
        seed = int(each["id"].removeprefix("item-"))
        shown = levels_of(each["png"])
        assert (shown == picture(bundles.GREY, seed)).all()
        assert each["distance"] == pytest.approx(np.linalg.norm(x - shown / 255), rel=1e-12)


def test_every_format(gallery_server):
    files = [text_of(file_of(picture(bundles.GREY, seed))) for seed in (3, 4)]
    body = {"pictures": files, "gallery": "grey", "k": 6}
    told = ask(gallery_server, "vae-grey", body)
    wanted = [[each["distance"] for each in row["neighbours"]] for row in told["rows"]]
    ids = [[each["id"] for each in row["neighbours"]] for row in told["rows"]]

    def get(kind, **more):
        answer = gallery_server.post("vae-grey", "neighbours", {**body, **more}, Accept=kind)
        assert answer.status_code == 200, answer.text
        return answer

    assert np.load(io.BytesIO(get("application/x-npy").content)).tolist() == wanted
    kind = "application/vnd.safetensors"
    arrays = safetensors.numpy.load(get(kind, return_pictures=True).content)
    assert arrays["distances"].tolist() == wanted
    assert arrays["pictures"].shape == (2, 6, *bundles.GREY)
    seeds = [[int(each.removeprefix("item-")) for each in row] for row in ids]
    assert arrays["indices"].tolist() == seeds  # they came in this order
    grid = levels_of(get("image/png").content)
    assert grid.shape == (1, 16, 48)
    for row in range(2):
        for column in range(6):
            cell = grid[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert (cell == picture(bundles.GREY, seeds[row][column])).all()
    wrong = {**body, "return_pictures": True}
    answer = gallery_server.post("vae-grey", "neighbours", wrong, Accept="application/x-npy")
    assert (answer.status_code, answer.json()["param"]) == (422, "return_pictures")


def test_a_gallery_of_another_shape_or_none_is_refused(gallery_server):
    for model, name in (("vae-grey", "pictures"), ("vae-grey", "none")):
        answer = gallery_server.post(model, "neighbours", {**inputs(model), "gallery": name})
        assert (answer.status_code, answer.json()["param"]) == (422, "gallery")


def test_a_model_that_must_be_told_attributes_encodes_no_gallery(gallery_server):
    body = {**inputs("dcgan-pictures"), "space": "latent", "gallery": "pictures"}
    answer = gallery_server.post("dcgan-pictures", "neighbours", body)
    assert (answer.status_code, answer.json()["param"]) == (422, "gallery")


def test_what_changes_in_a_gallery_is_seen_and_only_that_is_encoded(gallery_server):
    body = {"name": "growing", "shape": list(bundles.GREY)}
    client = gallery_server.client
    assert client.post("/v1/galleries", json=body).status_code == 201
    query = text_of(file_of(picture(bundles.GREY, 500)))
    body = {"pictures": [query], "space": "latent", "gallery": "growing", "k": 100}

    def found():
        answer = ask(gallery_server, "pca-grey", body)
        return [each["id"] for each in answer["rows"][0]["neighbours"]], answer["version"]

    assert found() == ([], 0)
    put(gallery_server, "growing", bundles.GREY, range(10))
    before, version = found()
    assert (len(before), version) == (10, 1)
    counted = _encoded_rows(gallery_server)
    put(gallery_server, "growing", bundles.GREY, [500, 3], labels=["new", None])
    assert client.delete("/v1/galleries/growing/items/item-4").status_code == 200
    after, version = found()
    # Of the twelve pictures that were sent one took another's place, and one is gone.
    assert (after[0], len(after), version) == ("item-500", 10, 3)
    assert "item-4" not in after
    assert _encoded_rows(gallery_server) - counted == 2 + 1  # with the query
    label = ask(gallery_server, "pca-grey", body)["rows"][0]["neighbours"][0]["label"]
    assert label == "new"
    assert client.delete("/v1/galleries/growing").status_code == 200
    assert gallery_server.post("pca-grey", "neighbours", body).status_code == 422


def _encoded_rows(server):
    """How many rows of pca-grey the engine has encoded."""
    for line in server.client.get("/metrics").text.splitlines():
        if line.startswith('latentd_rows_total{model="pca-grey",operation="encode"}'):
            return int(float(line.split()[1]))
    return 0


def test_a_gallery_is_encoded_once_for_all_who_ask_at_once(gallery_server):
    body = {"name": "shared", "shape": list(bundles.GREY)}
    assert gallery_server.client.post("/v1/galleries", json=body).status_code == 201
    put(gallery_server, "shared", bundles.GREY, range(200))
    counted = _encoded_rows(gallery_server)
    query = {**inputs("pca-grey", 1), "space": "latent", "gallery": "shared"}
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, gallery_server, "pca-grey", query) for _ in range(4)]
        answers = [each.result() for each in asked]
    assert all(each["rows"] == answers[0]["rows"] for each in answers)
    assert _encoded_rows(gallery_server) - counted == 200 + 4
