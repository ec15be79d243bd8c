"""Everything that can be wrong with a model, a bundle or their input.

A message says what came, what would be right and what to do. The service maps the classes to
HTTP answers in one table; nothing below it knows HTTP.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class LatentdError(Exception):
    """Base of every error this project raises on purpose."""

    def __reduce__(self) -> Any:
        """They pass between processes, also those whose constructors take other arguments."""
        return _again, (type(self), self.args, self.__dict__)


class InvalidInput(LatentdError):
    """The caller's values are wrong; `param` names the one to change."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class WrongShape(InvalidInput):
    """A tensor's shape is not the one the model works on."""


class InvalidPicture(InvalidInput):
    """A picture cannot be read, or its values are not those the model is about."""


class InvalidCondition(InvalidInput):
    """A condition names an unknown attribute or gives a value outside its range."""


class InvalidConfig(InvalidInput):
    """A family's configuration, a recipe or a setting has a wrong key or value."""


class UnknownName(InvalidInput):
    """A name (of a family, a data set, a recipe) that nothing answers to."""


class NotSupported(LatentdError):
    """The model lacks the capability that was asked for."""


class BundleError(LatentdError):
    """A bundle cannot be read or written."""


class BundleNotFound(BundleError):
    """There is no bundle at the path."""


class BundleCorrupt(BundleError):
    """A bundle's `file` is missing, altered or not what the configuration says."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file


def _again(kind: type[LatentdError], args: tuple[Any, ...], values: dict[str, Any]) -> LatentdError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(values)
    return error


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: "; did you mean 'x'?" or the list of what is known.

    >>> nearest("vea", ["pca", "vae"])
    "; did you mean 'vae'?"
    >>> nearest("zzz", ["pca", "vae"])
    '; known: pca, vae'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else "; there are none"
