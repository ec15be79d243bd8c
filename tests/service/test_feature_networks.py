"""Evaluators beside models: listed and loaded, whatever operations they have."""

import pytest

from service.settings import read_settings
from tests.service import bundles
from tests.service.conftest import running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("evaluators")
    for family in ("evaluator", "inception", "timm"):
        bundles.save(bundles.build(family, bundles.PICTURE), directory / family)
    quick = {"comparison_seconds": 0.1, "log_level": "error"}
    settings = read_settings(bundles_dir=directory, device="cpu", threads=1, **quick)
    with running(settings) as found:
        yield found


def test_they_are_listed_with_what_they_can_be_asked_for(server):
    listed = {each["id"]: each for each in server.client.get("/v1/models").json()["models"]}
    assert listed["inception"]["capabilities"] == ["Evaluator"]
    assert "classify" not in listed["inception"]["operations"]
    assert "classify" in listed["evaluator"]["operations"]
    assert {each["status"] for each in listed.values()} == {"loaded"}
    assert server.client.get("/v1/models/inception").status_code == 200


def test_one_is_not_asked_to_draw(server):
    refused = server.post("inception", "sample", {"n": 1})
    assert refused.status_code == 501
    assert refused.json()["param"] is None
