"""The document is true: its examples work, its schemas describe the answers."""

import pytest

from tests.service.conftest import file_of, picture, text_of

# Every operation is served by one of them.
MODELS = ("cvae-pictures", "diffusion-pictures", "denoising-pictures", "contractive-pictures")


@pytest.fixture(scope="module")
def document(server):
    return server.client.get("/openapi.json").json()


def routes(document):
    return [
        (path, method, route)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    ]


def test_every_route_is_described(document):
    assert document["openapi"].startswith("3.1")
    names = [route["operationId"] for _, _, route in routes(document)]
    assert len(set(names)) == len(names)
    for path, _, route in routes(document):
        assert route["summary"], path
        assert {"200", "201"} & route["responses"].keys()


def references(part):
    if isinstance(part, dict):
        yield from ([part["$ref"]] if "$ref" in part else [])
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from references(each)


def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    for reference in references(document):
        assert reference.rpartition("/")[2] in schemas


def test_errors_are_problems(document):
    for path, _, route in routes(document):
        for status, answer in route["responses"].items():
            if int(status) >= 400 and path != "/readyz":
                assert list(answer["content"]) == ["application/problem+json"]


def test_every_example_works_and_its_answer_is_as_described(server):
    file = text_of(file_of(picture((3, 8, 8))))
    for operation in server.parts.operations:
        body = dict(operation.example)
        if "pictures" in body:
            body["pictures"] = [file]
        if "masks" in body:
            body["masks"] = [file]
        if "stream" in body:
            body["stream"] = server.ask("cvae-pictures", "compress", {"pictures": [file]})["stream"]
        model = next(
            name
            for name in MODELS
            if operation.name in server.client.get(f"/v1/models/{name}").json()["operations"]
        )
        answer = server.ask(model, operation.name, body)
        operation.answer.model_validate(answer)
