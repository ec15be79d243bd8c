"""One answer in every format, and pictures in from every format."""

import base64
import io
import json
import zipfile

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from PIL import Image

from service.answers import PicturesAnswer
from service.negotiation import preferred
from tests.service.conftest import file_of, levels_of, picture, pixels, text_of

BODY = {"n": 3, "seed": 7, "return_latents": True}
MODEL = "vae-pictures"
PNG = "image/png"


def wanted(server):
    return np.array(pixels(server.ask(MODEL, "sample", BODY)), np.uint8)


def get(server, accept, body=BODY, model=MODEL):
    answer = server.post(model, "sample", body, Accept=accept)
    assert answer.status_code == 200, answer.text
    return answer


def test_json_is_the_default_and_keeps_its_shape(server):
    for accept in ("*/*", "", "application/*", "application/json, image/png;q=0.9"):
        answer = get(server, accept)
        assert answer.headers["content-type"] == "application/json"
        PicturesAnswer.model_validate(answer.json())
    document = answer.json()
    assert list(document)[:5] == ["model", "digest", "operation", "determinism", "seed"]
    assert list(document["pictures"][0]) == ["row", "png", "latent"]


@pytest.mark.parametrize("kind", ["image/png", "image/webp"])
def test_a_picture_file_shows_all_pictures_in_a_grid(server, kind):
    levels = levels_of(get(server, kind).content)
    cells = wanted(server)
    top = np.concatenate([cells[0], cells[1]], axis=2)
    bottom = np.concatenate([cells[2], np.full_like(cells[2], 255)], axis=2)
    np.testing.assert_array_equal(levels, np.concatenate([top, bottom], axis=1))


def test_one_picture_is_a_file_of_its_own(server):
    one = levels_of(get(server, PNG, {"seed": 7, "first_row": 1}).content)
    np.testing.assert_array_equal(one, wanted(server)[1])


def test_npy_has_the_numbers_before_rounding(server):
    answer = get(server, "application/x-npy")
    values = np.load(io.BytesIO(answer.content))
    assert values.dtype == np.float32
    np.testing.assert_array_equal((255 * values).round().astype(np.uint8), wanted(server))
    assert answer.headers["x-latentd-seed"] == "7"


def test_safetensors_has_levels_latents_and_facts(server):
    answer = get(server, "application/vnd.safetensors")
    arrays = safetensors.numpy.load(answer.content)
    np.testing.assert_array_equal(arrays["pictures"], wanted(server))
    latents = [each["latent"] for each in server.ask(MODEL, "sample", BODY)["pictures"]]
    np.testing.assert_array_equal(arrays["latents"], np.array(latents, np.float32))
    length = int.from_bytes(answer.content[:8], "little")
    facts = json.loads(answer.content[8 : 8 + length])["__metadata__"]
    assert facts["seed"] == "7"
    assert facts["digest"].startswith("sha256:")


def test_a_zip_has_a_file_each_and_a_manifest(server):
    answer = get(server, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        files = [archive.read(each["file"]) for each in manifest["pictures"]]
    np.testing.assert_array_equal([levels_of(file) for file in files], wanted(server))
    assert manifest["seed"] == 7
    assert get(server, "application/zip").content == answer.content


def test_a_png_tells_how_to_make_it_again(server):
    texts = Image.open(
        io.BytesIO(base64.b64decode(server.ask(MODEL, "sample", BODY)["pictures"][2]["png"]))
    ).text
    assert (texts["model"], texts["operation"]) == (MODEL, "sample")
    assert (texts["seed"], texts["row"]) == ("7", "2")
    assert texts["digest"].startswith("sha256:")
    wanted = {"condition": {"smile": True}, "seed": 3, "temperature": 0.5}
    content = server.post("cvae-pictures", "generate", wanted, Accept=PNG).content
    texts = Image.open(io.BytesIO(content)).text
    body = {**json.loads(texts["parameters"]), "seed": int(texts["seed"])}
    assert server.post("cvae-pictures", "generate", body, Accept=PNG).content == content


@pytest.mark.parametrize("kind", ["image/png", "image/webp", "application/zip"])
def test_headers_tell_what_a_binary_body_cannot(server, kind):
    headers = get(server, kind, {"n": 2, "seed": 7, "first_row": 4}).headers
    assert headers["x-latentd-seed"] == "7"
    assert headers["x-latentd-first-row"] == "4"
    assert headers["x-latentd-model"] == MODEL
    assert headers["x-latentd-digest"].startswith("sha256:")


def test_points_go_out_as_numbers_only(server):
    answer = server.post("vae-points", "sample", BODY, Accept="image/png")
    assert answer.status_code == 406
    assert "application/x-npy" in answer.json()["detail"]
    values = np.load(io.BytesIO(get(server, "application/x-npy", model="vae-points").content))
    told = [each["values"] for each in server.ask("vae-points", "sample", BODY)["pictures"]]
    np.testing.assert_array_equal(values, np.array(told, np.float32))


def test_codes_and_scores_go_out_as_arrays(server):
    body = {"pictures": [text_of(file_of(picture((3, 8, 8))))]}
    code = server.post(MODEL, "encode", body, Accept="application/x-npy")
    told = server.ask(MODEL, "encode", body)["latents"][0]
    np.testing.assert_array_equal(np.load(io.BytesIO(code.content))[0], np.float32(told["mean"]))
    both = server.post(MODEL, "encode", body, Accept="application/vnd.safetensors")
    assert set(safetensors.numpy.load(both.content)) == {"mean", "log_variance"}
    score = server.post(MODEL, "likelihood", body, Accept="application/vnd.safetensors")
    assert {"nats", "bits_per_dimension"} < set(safetensors.numpy.load(score.content))
    assert server.post(MODEL, "encode", body, Accept="image/png").status_code == 406


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("image/*", "image/png"),
        ("image/webp;q=0.9, image/png;q=0.2", "image/webp"),
        ("application/json;q=0, */*;q=0.1", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("application/zip;q=x, image/webp", "image/webp"),
        ("*/*;q=0.1, image/webp;q=0.05", "application/json"),
    ],
)
def test_the_callers_weights_are_kept(accept, kind):
    offered = ("application/json", "image/png", "image/webp", "application/zip")
    assert preferred(accept, offered) == kind


def parts(*files, **fields):
    return {"files": [("pictures", (None, file)) for file in files], "data": fields}


def test_pictures_come_in_as_files_too(server):
    files = [file_of(picture((3, 8, 8), seed)) for seed in range(3)]
    by_text = server.ask(MODEL, "reconstruct", {"pictures": [text_of(file) for file in files]})
    form = {
        "files": [("pictures", (f"{k}.png", file)) for k, file in enumerate(files)],
        "data": {"return_latents": "true"},
    }
    answer = server.client.post(f"/v1/models/{MODEL}/reconstruct", **form)
    assert answer.status_code == 200, answer.text
    assert pixels(answer.json()) == pixels(by_text)
    assert "latent" in answer.json()["pictures"][0]


def test_a_part_may_be_a_point_of_an_interpolation(server):
    file = file_of(picture((3, 8, 8)))
    form = {
        "files": [("points[1].picture", ("b.png", file))],
        "data": {"points": '[{"seed": 1}, {}]', "steps": "2", "method": "lerp"},
    }
    answer = server.client.post(f"/v1/models/{MODEL}/interpolate", **form)
    assert answer.status_code == 200, answer.text
    points = [{"seed": 1}, {"picture": text_of(file)}]
    wanted = server.ask(MODEL, "interpolate", {"points": points, "steps": 2, "method": "lerp"})
    assert pixels(answer.json()) == pixels(wanted)
