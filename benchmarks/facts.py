"""What a report says of its session: date, machine, versions, command; no paths, which are of one
machine only."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from benchmarks import machine
from benchmarks.systems import PROJECT, SYSTEMS, VENVS, Peer

# What an environment is for, by its name.
FRAMEWORKS = {"base": "fastapi", "litserve": "litserve", "bentoml": "bentoml", "ray": "ray"}


def of_session(arguments: argparse.Namespace, systems: Sequence[str]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine.describe(),
        "versions": _versions(systems),
        "command": _command(arguments),
    }


def _command(arguments: argparse.Namespace) -> str:
    words = ["python -m benchmarks.serve"]
    for name in ("systems", "model", "format", "cells", "env"):
        if given := getattr(arguments, name):
            words.append(f"--{name} {','.join(map(str, given))}")
    return " ".join([*words, f"--rounds {arguments.rounds} --seconds {arguments.seconds}"])


def _versions(systems: Sequence[str]) -> dict[str, str]:
    """Of what is compared, by name."""
    used = [SYSTEMS[name] for name in systems if name in SYSTEMS]
    venvs = {system.venv for system in used if isinstance(system, Peer)}
    libraries = ("torch", "numpy", "pillow", "uvicorn")
    return {
        "latentd": _said(["git", "describe", "--always", "--dirty"]) or "of no commit",
        **{FRAMEWORKS[venv]: _version_in(venv, FRAMEWORKS[venv]) for venv in sorted(venvs)},
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in libraries},
        "wrk": (_said(["wrk", "-v"]).split() + ["unknown"] * 2)[1],
    }


def _version_in(venv: str, package: str) -> str:
    for folder in (VENVS / venv / "lib").glob("python*/site-packages"):
        for found in importlib.metadata.distributions(name=package, path=[str(folder)]):
            return found.version
    return "not installed"


def _said(command: list[str]) -> str:
    # wrk tells its version with exit status 1.
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
