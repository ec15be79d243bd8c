"""What can go wrong between a data set's name and its arrays, beyond a wrong option."""

from __future__ import annotations

from models.errors import InvalidInput, LatentdError


class DataNotFound(InvalidInput):
    """A data set's files are not where they were looked for; the message says where to put them."""


class DataCorrupt(InvalidInput):
    """A data set's file is there, but is another than the published one, or of another form."""


class DownloadFailed(LatentdError):
    """No mirror gave the file: offline, gone, or with another content than the published one."""


class MissingPackage(LatentdError):
    """An optional package is needed and not installed; the message has the command."""
