"""(digest, operation, parameters, seed, row) names one output, whatever else is in flight."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.service.conftest import inputs, shown


@pytest.mark.offering("Sampler")
def test_row_k_of_many_is_row_k_alone(server, model):
    together = shown(server.ask(model, "sample", {"n": 11, "seed": 7}))
    for k in (0, 3, 7, 8, 10):
        alone = server.ask(model, "sample", {"n": 1, "seed": 7, "first_row": k})
        assert shown(alone) == [together[k]]
        assert alone["pictures"][0]["row"] == k


@pytest.mark.offering("Encoder")
def test_a_picture_is_encoded_alike_in_any_company(server, model):
    together = server.ask(model, "encode", inputs(model, 5))["latents"]
    alone = server.ask(model, "encode", inputs(model, 1, first=3))["latents"]
    assert {**alone[0], "row": 3} == together[3]
    again = server.ask(model, "encode", inputs(model, 5))["latents"]
    assert again == together


@pytest.mark.offering("Density")
def test_a_score_is_the_same_in_any_company(server, model):
    body = inputs(model, 5)
    together = server.ask(model, "likelihood", {**body, "seed": 3})["likelihoods"]
    kind = next(iter(body))
    alone = server.ask(
        model, "likelihood", {**body, kind: body[kind][2:3], "seed": 3, "first_row": 2}
    )["likelihoods"]
    assert alone == together[2:3]


def test_other_traffic_changes_nothing(server):
    models = ["vae-pictures", "dcgan-grey", "cvae-pictures"]
    calm = {m: shown(server.ask(m, "sample", {"n": 9, "seed": 5})) for m in models}
    over = threading.Event()

    def disturb(seed):
        while not over.is_set():
            for m in models:
                server.ask(m, "sample", {"n": 3 + seed, "seed": seed})
                server.ask(m, "interpolate", {"points": [{"seed": seed}, {"seed": 9}]})
            server.ask("vae-pictures", "likelihood", inputs("vae-pictures", 3))

    with ThreadPoolExecutor(4) as pool:
        disturbers = [pool.submit(disturb, seed) for seed in range(3)]
        try:
            for _ in range(4):
                for m in models:
                    for k in (0, 4, 8):
                        answer = server.ask(m, "sample", {"seed": 5, "first_row": k})
                        assert shown(answer) == [calm[m][k]]
                    assert shown(server.ask(m, "sample", {"n": 9, "seed": 5})) == calm[m]
        finally:
            over.set()
        for disturber in disturbers:
            disturber.result()


def test_two_processes_say_the_same(server, few_bundles):
    models = ("vae-pictures", "pca-grey", "cvae-points", "dcgan-pictures")
    directory = str(few_bundles(*models))
    command = [sys.executable, "-m", "service", "--bundles-dir", directory]
    flags = ["--port", "0", "--threads", "1", "--device", "cpu", "--log-level", "error"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = next(line.split()[2] for line in process.stdout if "serves http" in line)
            for model in models:
                body = {"n": 3, "seed": 11}
                other = httpx.post(f"{url}/v1/models/{model}/sample", json=body, timeout=60)
                assert other.content == server.post(model, "sample", body).content
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_an_absent_seed_is_drawn_and_told(server):
    first = server.ask("vae-grey", "sample", {"n": 2})
    again = server.ask("vae-grey", "sample", {"n": 2, "seed": first["seed"]})
    assert shown(again) == shown(first)
    assert server.ask("vae-grey", "sample", {"n": 2})["seed"] != first["seed"]
