"""All checks, as a report: `python -m verify.serving [--quick] [NAME ...]`."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

import verify.serving
from verify.serving.findings import Findings


def main() -> None:
    known = {module.__name__.rpartition(".")[2]: module for module in _checks()}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="sizes that end in seconds")
    arguments = parser.parse_args()
    print(f"# The engine's promises, measured ({time.strftime('%Y-%m-%d %H:%M')})\n")
    print(f"`python -m verify.serving {' '.join(sys.argv[1:])}`".replace(" `", "`"))
    print(f"on {_machine()}; clients and server share the cores.\n", flush=True)
    broken = []
    for name in arguments.names or known:
        began = time.monotonic()
        findings = _found(known[name], arguments.quick)
        broken += [f"{name}: {text}" for text in findings.broken()]
        print(f"{findings.markdown()}\n\n({time.monotonic() - began:.0f} s)\n", flush=True)
    print("\n".join(["Broken:", *(f"- {text}" for text in broken)]) if broken else "All hold.")
    sys.exit(1 if broken else 0)


def _found(module: ModuleType, quick: bool) -> Findings:
    try:
        findings: Findings = module.check(module.QUICK if quick else module.Size())
    except Exception as error:  # the others are still worth knowing
        findings = Findings(module.__name__.rpartition(".")[2])
        text = " ".join(f"{type(error).__name__}: {error}".split())
        findings.add("ended with", text.replace("|", "/"), "an answer", False)
        for note in getattr(error, "__notes__", ()):
            print(note, file=sys.stderr)
    return findings


def _checks() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(verify.serving.__path__):
        if found.name != "__main__":
            module = importlib.import_module(f"verify.serving.{found.name}")
            if hasattr(module, "check"):
                yield module


def _machine() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    cpu = model[1] if model else platform.processor()
    python = platform.python_version()
    return f"{os.cpu_count()} cores of {cpu}, Python {python}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
