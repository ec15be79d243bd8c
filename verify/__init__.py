"""Slow checks against published figures; `make verify` runs them, `docs/results/` keeps them."""
