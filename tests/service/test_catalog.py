"""Which models are served: what is found, what is refused, what a rescan changes."""

import json
import shutil
import threading

import pytest

from tests.service import bundles
from tests.service.conftest import pixels, shown


@pytest.fixture
def directory(tmp_path, bundles_dir):
    for name in ("vae-grey", "pca-points"):
        shutil.copytree(bundles_dir / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def serve(own_server, directory):
    """Makes servers over the directory."""
    return lambda **settings: own_server(bundles_dir=directory, **settings)


@pytest.fixture
def serving(serve):
    return serve()


def listed(server):
    return {each["id"]: each for each in server.client.get("/v1/models").json()["models"]}


def statuses(server):
    return {name: each["status"] for name, each in listed(server).items()}


def corrupt(bundle):
    weights = bundle / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def rescan(server):
    answer = server.client.post("/v1/models/rescan")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_model_tells_all_of_itself(server):
    page = server.client.get("/v1/models/cvae-pictures").json()
    assert page["family"] == "cvae"
    assert page["shape"] == [3, 8, 8]
    assert page["latent_spaces"][0]["prior"] == "standard_normal"
    names = [each["name"] for each in page["condition_schema"]["attributes"]]
    assert names == ["smile", "hair", "age"]
    assert page["operations"]["edit"] == "/v1/models/cvae-pictures/edit"
    assert page["limits"]["rows"] == 512
    assert page["card"] == "# A test\n"
    assert page["provenance"]["recipe"] == "test"


def test_a_broken_bundle_is_refused_by_name_and_the_others_serve(serve, directory):
    corrupt(directory / "vae-grey")
    shutil.copytree(directory / "pca-points", directory / "unsealed")
    (directory / "unsealed" / "config.json").write_text("{}")
    shutil.copytree(directory / "pca-points", directory / "headless")
    (directory / "headless" / "config.json").unlink()
    (directory / "not a bundle").mkdir()
    (directory / ".being-written").mkdir()
    server = serve()
    found = listed(server)
    assert found.keys() == {"vae-grey", "pca-points", "unsealed", "headless"}
    assert found["vae-grey"]["status"] == "refused"
    assert found["vae-grey"]["reason"].startswith("model.safetensors: altered")
    assert found["unsealed"]["reason"].startswith("config.json: ")
    assert found["headless"]["reason"] == "config.json: missing"
    assert found["pca-points"]["status"] == "loaded"
    assert server.client.get("/readyz").json()["models"] == 1
    for name in ("unsealed", "headless"):
        page = server.client.get(f"/v1/models/{name}").json()
        assert (page["status"], page["reason"]) == ("refused", found[name]["reason"])
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
        "refused": {},
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


def test_a_broken_new_version_leaves_the_old_one_served(serving, directory):
    before = shown(serving.ask("vae-grey", "sample", {"seed": 1}))
    bundles.save(bundles.build("vae", bundles.GREY, seed=9), directory / "vae-grey")
    corrupt(directory / "vae-grey")
    reason = rescan(serving)["refused"]["vae-grey"]
    assert reason.startswith("model.safetensors: altered")
    found = listed(serving)["vae-grey"]
    assert (found["status"], found["reason"]) == ("loaded", reason)
    assert shown(serving.ask("vae-grey", "sample", {"seed": 1})) == before


def test_models_are_told_of_without_being_loaded(serve):
    server = serve(preload=False)
    before = listed(server)
    pages = {name: server.client.get(f"/v1/models/{name}").json() for name in before}
    assert statuses(server) == {"vae-grey": "unloaded", "pca-points": "unloaded"}
    assert before["vae-grey"]["bytes"] is None
    for name in before:
        server.ask(name, "sample", {})
    after = listed(server)
    own = {"status", "bytes"}
    for name, page in pages.items():
        again = server.client.get(f"/v1/models/{name}").json()
        assert again.keys() == page.keys()
        assert {key for key in page if page[key] != again[key]} == {*own, "work"}
        assert again["work"]["sample"]["row_seconds"] > 0
        assert {key for key in after[name] if after[name][key] != before[name][key]} == own
        assert after[name]["bytes"] > 0


def test_what_a_model_cannot_do_is_told_without_loading_it(serve):
    server = serve(preload=False)
    assert server.post("pca-points", "generate", {}).status_code == 501
    answer = server.post("pca-points", "sample", {}, accept="image/png")
    assert answer.status_code == 406
    assert statuses(server)["pca-points"] == "unloaded"


def test_models_are_loaded_and_unloaded_by_hand(serve):
    server = serve(preload=False)

    def post(path, **options):
        answer = server.client.post(f"/v1/models/{path}", **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert post("vae-grey/load") == listed(server)["vae-grey"]
    assert statuses(server) == {"vae-grey": "loaded", "pca-points": "unloaded"}
    assert not listed(server)["vae-grey"]["pinned"]
    assert post("vae-grey/load", json={"pin": True})["pinned"]
    assert post("vae-grey/load", json={"pin": None})["pinned"]
    assert not post("vae-grey/load", json={"pin": False})["pinned"]
    post("vae-grey/load", json={"pin": True})
    for _ in range(2):
        page = post("vae-grey/unload")
        assert (page["status"], page["bytes"], page["pinned"]) == ("unloaded", None, False)
    assert 'latentd_model_bytes{model="vae-grey"} 0.0' in server.client.get("/metrics").text
    server.ask("vae-grey", "sample", {})
    assert statuses(server)["vae-grey"] == "loaded"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("vae-gray/load", {}, 404),
        ("vae-gray/unload", {}, 404),
        ("vae-grey/load", {"pin": "yes"}, 422),
        ("vae-grey/load", {"pinned": True}, 422),
        ("vae-grey/load", [], 422),
    ],
)
def test_a_wrong_request_to_load_is_a_problem(server, path, body, status):
    answer = server.client.post(f"/v1/models/{path}", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_model_that_does_not_fit_is_a_problem_and_the_others_serve(serve, directory):
    shutil.rmtree(directory / "pca-points")
    largest = serve().client.get("/v1/models/vae-grey").json()["bytes"]
    bundles.save(bundles.build("pca", bundles.POINT), directory / "pca-points")
    server = serve(model_bytes=largest - 1)
    assert statuses(server) == {"vae-grey": "unloaded", "pca-points": "loaded"}
    answer = server.post("vae-grey", "sample", {})
    assert answer.status_code == 503
    assert answer.json()["type"].endswith(":model-too-large")
    assert f"takes {largest} bytes" in answer.json()["detail"]
    server.ask("pca-points", "sample", {})


def test_more_models_than_fit_take_turns(serve, directory):
    for name in ("one", "two", "three"):
        shutil.copytree(directory / "vae-grey", directory / name)
    size = serve(preload=False).client.post("/v1/models/one/load").json()["bytes"]
    server = serve(model_bytes=size * 2, pinned=("two",))
    wanted = server.ask("two", "sample", {"n": 3, "seed": 1})
    for name in ("one", "three", "vae-grey", "one"):
        assert pixels(server.ask(name, "sample", {"n": 3, "seed": 1})) == pixels(wanted)
        assert statuses(server)["two"] == statuses(server)[name] == "loaded"
        assert sum(each["bytes"] or 0 for each in listed(server).values()) <= size * 2


def test_two_bundles_of_one_name_are_refused_and_nothing_changes(
    serve, directory, bundles_dir, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(bundles_dir / "vae-points", elsewhere / "late")
    server = serve(bundles=(elsewhere / "late",))
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
    assert 'latentd_rows_total{model="vae-grey",operation="sample"} 5.0' in text
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
