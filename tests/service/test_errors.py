"""Every mistake gets a problem that names it, and never what the caller wrote."""

import json
import socket
import time

import pytest

from service.errors import Problem
from tests.service.conftest import KNOWN, file_of, picture, text_of

VAE, CVAE, POINTS = "vae-pictures", "cvae-pictures", "vae-points"
FILE = text_of(file_of(picture((3, 8, 8))))


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    Problem.model_validate(content)
    assert content["request_id"] == answer.headers["x-request-id"]
    for secret in ("Traceback", "/work", "/tmp", 'File "', "SECRET", "site-packages"):
        assert secret not in answer.text
    return content


WRONG_FIELDS = [
    (VAE, "sample", {"n": 0}, "n"),
    (VAE, "sample", {"n": "3"}, "n"),
    (VAE, "sample", {"n": 3.0}, "n"),
    (VAE, "sample", {"n": True}, "n"),
    (VAE, "sample", {"n": 10**30}, "n"),
    (VAE, "sample", {"n": 513}, "n"),
    (VAE, "sample", {"seed": -1}, "seed"),
    (VAE, "sample", {"seed": 2**53}, "seed"),
    (VAE, "sample", {"first_row": 2**53 - 1, "n": 2}, "first_row"),
    (VAE, "sample", {"temperature": -0.1}, "temperature"),
    (VAE, "sample", {"truncation": 0}, "truncation"),
    (VAE, "sample", {"condition": {"smile": True}}, "condition"),
    (VAE, "sample", {"SECRET": 1}, ""),
    (CVAE, "sample", {"condition": {"SECRET": True}}, "condition"),
    (CVAE, "sample", {"condition": {"SECRET": []}}, "condition"),
    (CVAE, "sample", {"condition": {"hair": "SECRET"}}, "condition.hair"),
    (CVAE, "sample", {"condition": {"smile": 1}}, "condition.smile"),
    (CVAE, "sample", {"condition": {"age": 61}}, "condition.age"),
    (CVAE, "sample", {"condition": {"age": True}}, "condition.age"),
    (CVAE, "generate", {}, "condition"),
    (VAE, "decode", {}, "latents"),
    (VAE, "decode", {"latents": []}, "latents"),
    (VAE, "decode", {"latents": [[]]}, "latents[0]"),
    (VAE, "decode", {"latents": [[0.0] * 4, [0.0] * 3]}, "latents[1]"),
    (VAE, "decode", {"latents": [[0, 0, 0, 101]]}, "latents[0][3]"),
    (VAE, "decode", {"latents": [[0, 0, 0, None]]}, "latents[0][3]"),
    (VAE, "decode", {"latents": [[0, 0, 0, "SECRET"]]}, "latents[0][3]"),
    (VAE, "encode", {}, "pictures"),
    (VAE, "encode", {"pictures": []}, "pictures"),
    (VAE, "encode", {"pictures": [FILE, "SECRET"]}, "pictures[1]"),
    (VAE, "encode", {"pictures": [FILE, text_of(b"SECRET")]}, "pictures[1]"),
    (VAE, "encode", {"pictures": [FILE], "values": [[1.0]]}, "pictures"),
    (VAE, "encode", {"values": [[1.0, 2.0]]}, "values[0]"),
    (VAE, "encode", {"pictures": [FILE], "attributes": {"smile": True}}, "attributes"),
    (VAE, "encode", {"pictures": [text_of(file_of(picture((3, 9, 7))))]}, "pictures[0]"),
    (POINTS, "encode", {"pictures": [FILE]}, "pictures[0]"),
    (POINTS, "encode", {"values": [[1.0]]}, "values[0]"),
    (CVAE, "encode", {"pictures": [FILE], "attributes": [KNOWN, KNOWN]}, "attributes"),
    (
        CVAE,
        "encode",
        {"pictures": [FILE], "attributes": [{"hair": "SECRET"}]},
        "attributes[0].hair",
    ),
    (VAE, "interpolate", {"points": [{"seed": 1}]}, "points"),
    (VAE, "interpolate", {"points": [{"seed": 1}, {}]}, "points[1]"),
    (VAE, "interpolate", {"points": [{"seed": 1}, {"seed": 1, "latent": [1.0]}]}, "points[1]"),
    (VAE, "interpolate", {"points": [{"seed": 1}, {"row": 1}]}, "points[1]"),
    (VAE, "interpolate", {"points": [{"seed": 1}, {"latent": [1.0]}]}, "points[1].latent"),
    (VAE, "interpolate", {"points": [{"seed": 1}, {"picture": "?"}]}, "points[1].picture"),
    (VAE, "interpolate", {"points": [{"seed": 1}] * 2, "steps": 1}, "steps"),
    (VAE, "interpolate", {"points": [{"seed": 1}] * 2, "steps": 600}, "steps"),
    (VAE, "interpolate", {"points": [{"seed": 1}] * 300, "steps": 2}, "points"),
    (VAE, "interpolate", {"points": [{"seed": 1}] * 2, "method": "SECRET"}, "method"),
    (
        CVAE,
        "interpolate",
        {"points": [{"seed": 1}, {"seed": 2, "condition": {"age": 0}}]},
        "points[1].condition.age",
    ),
    (VAE, "arithmetic", {}, ""),
    (VAE, "arithmetic", {"terms": []}, "terms"),
    (VAE, "arithmetic", {"terms": [{"mean_of": []}]}, "terms[0].mean_of"),
    (VAE, "arithmetic", {"negative": [{"seed": 1}]}, ""),
    (
        VAE,
        "arithmetic",
        {"terms": [{"mean_of": [{"seed": 1}, {"latent": [1, 2]}]}]},
        "terms[0].mean_of[1].latent",
    ),
    (
        VAE,
        "arithmetic",
        {"terms": [{"weight": 100, "mean_of": [{"latent": [50, 0, 0, 0]}]}]},
        "terms[0].mean_of",
    ),
    (VAE, "traverse", {"axes": [4]}, "axes[0]"),
    (VAE, "traverse", {"axes": [1, 1]}, "axes"),
    (VAE, "traverse", {"axes": [0], "range": [1, 1]}, "range"),
    (VAE, "traverse", {"axes": [0, 1], "steps": 30}, "steps"),
    (CVAE, "progression", {"attribute": "SECRET"}, "attribute"),
    (CVAE, "progression", {"attribute": "smile", "from": "SECRET"}, "from"),
    (CVAE, "progression", {"attribute": "age", "to": 99}, "to"),
    (CVAE, "progression", {"attribute": "age", "condition": {"age": 30}}, "condition"),
    (CVAE, "progression", {"attribute": "age", "picture": FILE, "seed": 1}, ""),
    (CVAE, "edit", {"pictures": [FILE]}, ""),
    (VAE, "likelihood", {"pictures": [FILE], "effort": 0}, "effort"),
    (VAE, "likelihood", {"pictures": [FILE] * 10, "effort": 9999}, "effort"),
    ("pca-pictures", "likelihood", {"pictures": [FILE], "effort": 2}, "effort"),
]


@pytest.mark.parametrize(("model", "operation", "body", "param"), WRONG_FIELDS)
def test_422_names_the_field(server, model, operation, body, param):
    found = problem(server.post(model, operation, body), 422)
    assert (found["param"] or "") == param, found
    assert not found["retryable"]


def test_an_unknown_field_is_told_the_nearest(server):
    assert "did you mean 'seed'" in problem(server.post(VAE, "sample", {"sed": 1}), 422)["detail"]


def raw(server, content, kind="application/json", path=f"/v1/models/{VAE}/sample", **more):
    headers = {"content-type": kind, **more}
    return server.client.post(path, content=content, headers=headers)


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b'{"n": 1,}', b"[" * 100_000, b'{"n": "\\ud800"}', b"\xff\xfe", b'{"n": 01}'],
)
def test_400_for_what_is_no_json(server, content):
    problem(raw(server, content), 400)


def test_json_that_is_no_object_is_wrong(server):
    for content in (b"[]", b"null", b"1", b'"SECRET"'):
        problem(raw(server, content), 422)


def test_400_for_deep_json_even_where_it_is_valid(server):
    deep = b'{"points": ' + b"[" * 40 + b"]" * 40 + b"}"
    problem(raw(server, deep, path=f"/v1/models/{VAE}/interpolate"), 400)
    brackets = json.dumps({"pictures": ["[" * 1000]}).encode()
    problem(raw(server, brackets, path=f"/v1/models/{VAE}/encode"), 422)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_are_finite(server, number):
    content = f'{{"temperature": {number}}}'.encode()
    assert problem(raw(server, content), 422)["param"] == "temperature"


def test_a_quote_that_never_ends_costs_no_time(server):
    problem(raw(server, b'\\"' * 2_000_000), 400)


def test_404_names_the_nearest_model_but_not_the_callers_text(server):
    found = problem(server.client.get("/v1/models/vae-picturesSECRET"), 404)
    assert "vae-pictures" in found["detail"]
    problem(server.client.get("/v1/models/%00%ff"), 404)
    problem(server.client.get("/v1/models/..%2f..%2fetc"), 404)
    problem(server.client.get("/SECRET"), 404)
    problem(server.post("SECRET", "sample", {}), 404)
    problem(server.post(VAE, "SECRET", {}), 404)


def test_405_tells_what_is_allowed(server):
    answer = server.client.get(f"/v1/models/{VAE}/sample")
    problem(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_406_lists_what_there_is(server):
    found = problem(server.post(VAE, "sample", {}, Accept="text/html"), 406)
    assert "image/webp" in found["detail"]
    problem(server.post(VAE, "sample", {}, Accept="*/*;q=0"), 406)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_415_for_other_bodies(server, kind):
    problem(raw(server, b"n=1", kind), 415)


def test_415_for_packed_bodies(server):
    problem(raw(server, b"{}", **{"content-encoding": "gzip"}), 415)


def test_413_by_what_is_announced_and_by_what_comes(own_server):
    small = own_server(VAE, limits={"body_bytes": 1000})
    announced = raw(small, b"x" * 1001)
    assert problem(announced, 413)["detail"] == "a body has at most 1000 bytes"

    def chunks():
        yield b'--x\r\nContent-Disposition: form-data; name="n"\r\n\r\n'
        for _ in range(100):
            yield b" " * 100

    problem(raw(small, chunks()), 413)
    problem(raw(small, chunks(), "multipart/form-data; boundary=x"), 413)
    assert raw(small, b'{"n": 1}' + b" " * 900).status_code == 200


def test_501_says_what_the_model_does_serve(server):
    found = problem(server.post(VAE, "generate", {"condition": {}}), 501)
    assert "sample" in found["operations"]
    assert "generate" not in found["operations"]
    page = server.client.get(f"/v1/models/{VAE}").json()
    assert found["operations"] == list(page["operations"])


def test_every_operation_that_a_model_does_not_list_is_501(server):
    models = server.client.get("/v1/models").json()["models"]
    names = {name for model in models for name in model["operations"]}
    for model in models:
        for name in names - model["operations"].keys():
            problem(server.post(model["id"], name, {}), 501)


@pytest.mark.parametrize(
    "form",
    [
        {"files": [("pictures", ("a", b"SECRET"))]},
        {"files": [("SECRET", ("a", b"x"))]},
        {"files": [("pictures[7]", ("a", b"x"))]},
        {"files": [("pictures.x[0]", ("a", b"x"))], "data": {"pictures": "1"}},
        {"files": [("pictures", ("a", b"x"))], "data": {"pictures": "7"}},
        {"files": [("a", ("a", b"x"))], "data": {"__proto__": "1", "fit": "SECRET"}},
    ],
)
def test_multipart_that_does_not_fit_is_422(server, form):
    problem(server.client.post(f"/v1/models/{VAE}/encode", **form), 422)


def test_broken_multipart_is_400(server):
    path = f"/v1/models/{VAE}/encode"
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        problem(raw(server, b"--y\r\nSECRET", kind, path), 400)
    many = {"files": [("pictures", ("a", b"x"))] * 1100}
    problem(server.client.post(path, **many), 400)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "SECRET", ""])
def test_a_deadline_must_be_a_number_of_seconds(server, seconds):
    answer = server.post(VAE, "sample", {}, **{"X-Request-Timeout": seconds})
    assert problem(answer, 422)["param"] == "X-Request-Timeout"


def test_head_and_options(server):
    head = server.client.head("/v1/models")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 100
    options = server.client.options(f"/v1/models/{VAE}/sample")
    assert (options.status_code, options.headers["allow"]) == (204, "POST")


def test_a_sane_request_id_is_kept(server):
    for given, is_kept in (("abc-1.2", True), ("a b", False), ("x" * 200, False)):
        told = server.client.get("/livez", headers={"X-Request-Id": given}).headers["x-request-id"]
        assert (told == given) is is_kept


def test_a_body_that_breaks_off_is_nobodys_error(server):
    line = b"POST /v1/models/vae-grey/sample HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(line)
    wanted = 'route="/v1/models/{name}/sample",status="499"} '
    for _ in range(100):
        if wanted in (text := server.client.get("/metrics").text):
            break
        time.sleep(0.02)
    assert wanted in text


def test_http_that_is_none_does_not_hurt(server):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"\x00\x01 NONSENSE\r\n\r\n")
        assert b" 400 " in connection.recv(100)
    server.ask(VAE, "sample", {"n": 1})
