"""Fetches a published file: resumed where it broke off, its sum checked, whole or not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import httpx

from training.data.checksums import Checksum
from training.data.errors import DownloadFailed
from training.data.progress import Progress, silent

_ATTEMPTS = 3  # times an address is tried; each goes on where the one before broke off
_TIMEOUT_SECONDS = 30.0  # without a byte


def download(
    urls: Sequence[str],
    target: Path,
    checksum: Checksum | None,
    progress: Progress = silent,
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> Path:
    """Fetches `target` from the first of several addresses that gives the right file.

    What has come is kept in `<target>.part` and continued by an HTTP range request, also by a
    later call. The file gets its name only when it is complete, right and on the disk.

    Raises:
        DownloadFailed: no address gave it; the message has each reason and where to put the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    reasons: list[str] = []
    with httpx.Client(timeout=timeout_seconds, follow_redirects=True) as client:
        for url in urls:
            reason = _try_address(client, url, target, checksum, progress)
            if reason is None:
                return target
            reasons.append(f"{url}: {reason}")
    tried = "\n  ".join(reasons)
    raise DownloadFailed(
        f"{target.name} could not be downloaded:\n  {tried}\n"
        f"when this machine is offline, fetch it elsewhere and put it at {target}"
    )


def _try_address(
    client: httpx.Client, url: str, target: Path, checksum: Checksum | None, progress: Progress
) -> str | None:
    """None when the file is there, else why not."""
    part = target.with_name(f"{target.name}.part")
    reason = ""
    for _ in range(_ATTEMPTS):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _fetch(client, url, part, progress)
        except httpx.HTTPStatusError as error:
            return f"the server answered {error.response.status_code}"
        except httpx.TransportError as error:
            reason = f"{type(error).__name__}: {error}"
            continue
        if checksum is None or checksum.matches(part):
            os.replace(part, target)
            return None
        part.unlink()
        reason = f"its content is not the published one ({checksum})"
        if not resumed:  # a resumed file may be half of another: only then is a second try worth it
            return reason
    return reason


def _fetch(client: httpx.Client, url: str, part: Path, progress: Progress) -> None:
    """Appends to `part` what it lacks, to the end."""
    have = part.stat().st_size if part.exists() else 0
    # identity: a range counts bytes of the file, not of a compressed transfer.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            # Nothing is missing (or the file is shorter than what came): the checksum decides.
            return
        response.raise_for_status()
        continued = response.status_code == httpx.codes.PARTIAL_CONTENT
        start = have if continued else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        task = f"downloading {part.name.removesuffix('.part')}"
        with part.open("ab" if continued else "wb") as file:
            done = start
            for block in response.iter_raw():
                file.write(block)
                done += len(block)
                progress(task, done, total)
            file.flush()
            os.fsync(file.fileno())
