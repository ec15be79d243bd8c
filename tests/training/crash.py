"""Kills a training run again and again at random moments, and resumes it each time.

    python -m tests.training.crash --kills 10

The bundle it ends with must hold the very weights of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """
family = "{family}"
seed = 5
[data]
name = "digits"
binarize = "{binarize}"
[model]
{model}
[training]
steps = {steps}
batch_size = 50
ema = 0.99
checkpoint_every = 5
sample_every = 100
log_every = 10
{training}
"""
FAMILIES = {
    "vae": {
        "binarize": "stochastic",
        "model": 'hidden = [64]\nlatent_width = 4\nlikelihood = "bernoulli"',
        "training": 'schedule = "cosine"\nkeep_best = true\nvalidate_every = 7',
    },
    "dcgan": {
        "binarize": "none",
        "model": "conditional = true\nchannels = 8\nlatent_width = 8\ninversion_steps = 2",
        "training": "betas = [0.5, 0.999]\ndiscriminator_steps = 2",
    },
}
SLOWEST_START_SECONDS = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--family", choices=FAMILIES, default="vae")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        recipe = base / "crash.toml"
        recipe.write_text(
            RECIPE.format(
                family=arguments.family, steps=arguments.steps, **FAMILIES[arguments.family]
            )
        )
        undisturbed = _start(recipe, base / "undisturbed")
        moments = random.Random(arguments.seed)
        for kill in range(arguments.kills):
            # Spread over the run, so that each has something left to disturb.
            share = (kill + moments.random()) / arguments.kills
            step = _kill_after(recipe, base / "killed", int(share * arguments.steps * 0.9), moments)
            print(f"kill -9 number {kill + 1}: the last checkpoint is of step {step}", flush=True)
        said = _finish(_start(recipe, base / "killed"))
        _finish(undisturbed)
        print(said.strip().splitlines()[0])
        digests = {name: _weights(base / name) for name in ("undisturbed", "killed")}
    for name, digest in digests.items():
        print(f"{name:12} {digest}")
    if len(set(digests.values())) > 1:
        sys.exit("the killed run ended with other weights")


def _start(recipe: Path, run: Path) -> subprocess.Popen[str]:
    places = ["--run-dir", str(run / "run"), "--out", str(run / "bundle")]
    call = [sys.executable, "-m", "training.cli", "train", str(recipe), "--resume", *places]
    return subprocess.Popen(
        [*call, "--device", "cpu"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(f"training ended with status {process.returncode}:\n{said}")
    return said


def _kill_after(recipe: Path, run: Path, step: int, moments: random.Random) -> int:
    """Start, wait for a checkpoint of at least `step`, and a little more, and kill."""
    process = _start(recipe, run)
    deadline = time.monotonic() + SLOWEST_START_SECONDS
    while _last_step(run) < step and process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            sys.exit(f"no checkpoint of step {step} after {SLOWEST_START_SECONDS} s")
        time.sleep(0.002)
    time.sleep(0.1 * moments.random())  # anywhere: in a step, in the middle of writing
    if process.poll() is not None:
        sys.exit(f"the run ended before it was killed; more --steps:\n{process.communicate()[0]}")
    process.kill()
    process.communicate()
    return _last_step(run)


def _last_step(run: Path) -> int:
    names = (each.name for each in (run / "run" / "checkpoints").glob("step-*"))
    return max((int(name.split("-")[1]) for name in names), default=-1)


def _weights(run: Path) -> str:
    return hashlib.sha256((run / "bundle" / "model.safetensors").read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
