"""`python -m service [BUNDLE ...]` serves; `python -m service health` asks a service that runs.

A bundle that is called health is ./health.
"""

import os
import sys


def main() -> None:
    if sys.argv[1:2] == ["health"]:
        from service import health

        health.app(args=sys.argv[2:], prog_name="python -m service health")
    # Before torch is imported, as OpenMP reads it then. Threads that spin while they wait cost a
    # busy machine ten times the time of a pass; threads that sleep cost an idle one nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from service import cli

    cli.app(prog_name="python -m service")


if __name__ == "__main__":
    main()
