"""Which models are served: what is found, what is refused, what a rescan changes."""

import json
import shutil
import threading

import pytest

from tests.service import bundles
from tests.service.conftest import shown


@pytest.fixture
def directory(tmp_path, bundles_dir):
    for name in ("vae-grey", "pca-points"):
        shutil.copytree(bundles_dir / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def serving(own_server, directory):
    return own_server(bundles_dir=directory)


def listed(server):
    return {each["id"]: each for each in server.client.get("/v1/models").json()["models"]}


def rescan(server):
    answer = server.client.post("/v1/models/rescan")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_model_tells_all_of_itself(server):
    page = server.client.get("/v1/models/cvae-pictures").json()
    assert page["family"] == "cvae"
    assert page["shape"] == [3, 16, 16]
    assert page["latent_spaces"][0]["prior"] == "standard_normal"
    names = [each["name"] for each in page["condition_schema"]["attributes"]]
    assert names == ["smile", "hair", "age"]
    assert page["operations"]["edit"] == "/v1/models/cvae-pictures/edit"
    assert page["limits"]["rows"] == 512
    assert page["card"] == "# A test\n"
    assert page["provenance"]["recipe"] == "test"


def test_a_broken_bundle_is_refused_by_name_and_the_others_serve(own_server, directory):
    weights = directory / "vae-grey" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    shutil.copytree(directory / "pca-points", directory / "unsealed")
    (directory / "unsealed" / "config.json").write_text("{}")
    shutil.copytree(directory / "pca-points", directory / "headless")
    (directory / "headless" / "config.json").unlink()
    (directory / "not a bundle").mkdir()
    (directory / ".being-written").mkdir()
    server = own_server(bundles_dir=directory)
    found = listed(server)
    assert found.keys() == {"vae-grey", "pca-points", "unsealed", "headless"}
    assert found["vae-grey"]["status"] == "refused"
    assert found["vae-grey"]["reason"].startswith("model.safetensors: altered")
    assert found["unsealed"]["reason"].startswith("config.json: ")
    assert found["headless"]["reason"] == "config.json: missing"
    assert found["pca-points"]["status"] == "served"
    answer = server.post("vae-grey", "sample", {})
    assert answer.status_code == 503
    assert "model.safetensors" in answer.json()["detail"]
    assert str(directory) not in answer.text
    server.ask("pca-points", "sample", {})


def test_a_rescan_finds_what_is_new_changed_and_gone(serving, directory, bundles_dir):
    before = listed(serving)
    shutil.copytree(bundles_dir / "cvae-points", directory / "fresh")
    shutil.rmtree(directory / "pca-points")
    shutil.rmtree(directory / "vae-grey")
    digest = bundles.save(bundles.build("vae", bundles.GREY, seed=9), directory / "vae-grey")
    assert rescan(serving) == {
        "added": ["fresh"],
        "changed": ["vae-grey"],
        "removed": ["pca-points"],
        "refused": [],
    }
    assert listed(serving).keys() == {"fresh", "vae-grey"}
    assert serving.ask("vae-grey", "sample", {"seed": 1})["digest"] == digest
    assert digest != before["vae-grey"]["digest"]
    assert serving.post("pca-points", "sample", {}).status_code == 404
    assert rescan(serving)["changed"] == []


def test_rows_under_way_finish_on_the_model_they_began_with(serving, directory):
    """Requests during a swap are answered by the old model or the new, and each as it should."""
    wanted = {}
    first = serving.ask("vae-grey", "sample", {"n": 9, "seed": 1})
    wanted[first["digest"]] = shown(first)
    answers, over = [], threading.Event()

    def ask():
        while not over.is_set():
            answers.append(serving.ask("vae-grey", "sample", {"n": 9, "seed": 1}))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for seed in (5, 6):
        model = bundles.build("vae", bundles.GREY, seed=seed)
        bundles.save(model, directory / "vae-grey")
        assert rescan(serving)["changed"] == ["vae-grey"]
        now = serving.ask("vae-grey", "sample", {"n": 9, "seed": 1})
        wanted[now["digest"]] = shown(now)
    over.set()
    for asker in askers:
        asker.join()
    assert len(wanted) == 3
    for answer in answers:
        assert shown(answer) == wanted[answer["digest"]]


def test_two_bundles_of_one_name_are_refused_and_nothing_changes(
    own_server, directory, bundles_dir, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(bundles_dir / "vae-points", elsewhere / "late")
    server = own_server(bundles_dir=directory, bundles=(elsewhere / "late",))
    before = listed(server)
    assert "late" in before
    shutil.copytree(bundles_dir / "vae-points", directory / "late")
    answer = server.client.post("/v1/models/rescan")
    assert answer.status_code == 409
    assert "late" in answer.json()["detail"]
    assert str(directory) not in answer.text
    assert listed(server) == before


def test_the_metrics_know_the_models(serving):
    serving.ask("vae-grey", "sample", {"n": 5})
    text = serving.client.get("/metrics").text
    digest = listed(serving)["vae-grey"]["digest"]
    info = f'latentd_model_info{{digest="{digest}",family="vae",model="vae-grey"}} 1.0'
    assert info in text
    assert "latentd_models_loaded 2.0" in text
    assert 'latentd_rows_total{model="vae-grey",operation="decode"} 5.0' in text
    sampled = (
        'latentd_requests_total{method="POST",route="/v1/models/{name}/sample",status="200"} 1.0'
    )
    assert sampled in text


def test_the_index_leads_everywhere(server):
    index = server.client.get("/").json()
    assert index["name"] == "latentd"
    for path in index["links"].values():
        assert server.client.get(path).status_code == 200
    assert server.client.get("/docs").headers["content-type"].startswith("text/html")
    assert json.loads(server.client.get("/readyz").text)["status"] == "ok"
