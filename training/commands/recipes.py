"""`latentd recipes`: what can be trained as it stands."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from training.recipe import find, names, read_recipe


def recipes() -> None:
    """List the recipes that come along; `latentd train NAME` trains one."""
    table = Table("name", "family", "data", "description", box=None)
    for name in names():
        recipe = read_recipe(find(name))
        table.add_row(name, recipe.family, recipe.data.name, recipe.description)
    Console().print(table)
