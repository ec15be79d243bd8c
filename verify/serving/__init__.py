"""The engine's promises, seen to hold against a real server process over real HTTP.

    python -m verify.serving                        # all of them, as a Markdown report
    python -m verify.serving.hot_swap --quick       # one of them, small

Every file with a `check` is one promise: its docstring says what is promised and why it is measured
so. `check(Size())` is the full size, `check(QUICK)` one that a test suite can afford.
"""
