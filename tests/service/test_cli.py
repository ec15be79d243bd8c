"""`python -m service` as a process: what it says, how it ends."""

import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

COMMAND = [sys.executable, "-m", "service"]


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60)


def test_what_is_wrong_is_told_in_one_line(tmp_path, bundles_dir):
    config = tmp_path / "latentd.toml"
    config.write_text("prot = 1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        wrong = [
            (["--bundles-dir", str(tmp_path)], "no bundles in"),
            ([str(tmp_path / "none")], "no bundle at"),
            (["--config", str(config)], "did you mean 'port'"),
            (["--bundles-dir", str(bundles_dir), "--port", port], "cannot listen"),
        ]
        processes = [
            subprocess.Popen(
                [*COMMAND, *flags, "--log-level", "error"], stderr=subprocess.PIPE, text=True
            )
            for flags, _ in wrong
        ]
        for process, (_, message) in zip(processes, wrong, strict=True):
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 2
            assert message in errors
            assert errors.count("\n") == 1


@pytest.fixture
def process(bundles_dir):
    flags = [str(bundles_dir / "vae-grey"), str(bundles_dir / "dcgan-pictures"), "--port", "0"]
    options = ["--log-format", "json", "--threads", "1", "--bundles-dir", str(bundles_dir / "no")]
    with subprocess.Popen(
        [*COMMAND, *flags, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as found:
        yield found
        found.kill()


def test_a_signal_lets_requests_finish_and_ends_well(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "serves http" in line:
            break
    url = lines[-1].split()[2]
    assert lines[0].startswith("dcgan-pictures: dcgan") or lines[0].startswith("vae-grey: vae")
    for _ in range(100):
        try:
            httpx.get(f"{url}/readyz").raise_for_status()
            break
        except httpx.HTTPError:
            time.sleep(0.05)
    health = run("health", url)
    assert (health.returncode, health.stdout) == (0, "ready: 2 models\n")
    answers = []

    def ask():
        body = {"n": 512, "seed": 1}
        path = f"{url}/v1/models/dcgan-pictures/sample"
        answers.append(httpx.post(path, json=body, timeout=60))

    asker = threading.Thread(target=ask)
    asker.start()
    while "latentd_waiting_rows 0.0" in httpx.get(f"{url}/metrics").text and not answers:
        pass
    process.send_signal(signal.SIGTERM)
    asker.join()
    assert answers[0].status_code == 200
    assert len(answers[0].json()["pictures"]) == 512
    assert process.wait(30) == 0
    log = process.stderr.read()
    assert '"event": "request"' in log
    assert "Traceback" not in log
    assert run("health", url).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_as_soon_as_the_address_is_told_ends_it_well(process, number):
    assert any("serves http" in line for line in process.stdout)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert "Traceback" not in process.stderr.read()
