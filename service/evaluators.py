"""Which model looks at pictures for metrics."""

from __future__ import annotations

from models.bundle import Bundle
from models.capabilities import Evaluator
from models.errors import InvalidInput, nearest
from service.catalog import Catalog
from service.entries import Entry


def named_evaluator(catalog: Catalog, name: str) -> Entry:
    """The evaluator of that name.

    Raises:
        InvalidInput: there is none.
    """
    entry = catalog.entries().get(name)
    if entry is None:
        known = [each.id for each in _evaluators(catalog)]
        raise InvalidInput(f"there is no evaluator of that name{nearest(name, known)}", "evaluator")
    if entry not in _evaluators(catalog):
        known = [each.id for each in _evaluators(catalog)]
        message = "that model is no evaluator, or is refused" + nearest("", known)
        raise InvalidInput(message, "evaluator")
    return entry


def chosen_evaluator(
    catalog: Catalog, shape: tuple[int, ...], data: str | None, own: str | None = None
) -> Entry | None:
    """The evaluator that was trained on data of that name and looks at rows of that shape; None
    where there is none.

    Args:
        data: None for any.
        own: the model that is evaluated, which is no judge of itself.
    Raises:
        InvalidInput: there are several, and they would give different numbers.
    """
    suitable = [
        each
        for each in _evaluators(catalog)
        if each.id != own
        and each.offering(Evaluator).accepts(shape)
        and (data is None or each.description.provenance.data == data)
    ]
    if len(suitable) > 1:
        names = ", ".join(each.id for each in suitable)
        raise InvalidInput(f"several evaluators would do: name one of {names}", "evaluator")
    return suitable[0] if suitable else None


def bundle_of(entry: Entry) -> Bundle:
    """What can be asked of a bundle without its weights in memory."""
    if entry.served is not None:
        return entry.served.bundle
    return Bundle(entry.model, entry.description, entry.digest, entry.path)


def _evaluators(catalog: Catalog) -> list[Entry]:
    return [
        each
        for each in catalog.entries().values()
        if each.is_described and each.status != "refused" and each.offers(Evaluator)
    ]
