"""`python -m tests.families.serve ARGS`: `python -m service`, with the tests' families."""

import tests.families  # noqa: F401
from service.__main__ import main

if __name__ == "__main__":
    main()
