"""Families that only tests have, registered beside the real ones by importing this package."""

from pathlib import Path

import models.families

EXTRA = str(Path(__file__).parent / "extra")

if EXTRA not in models.families.__path__:
    models.families.__path__.append(EXTRA)
