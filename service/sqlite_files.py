"""What all SQLite files of the service have in common."""

from __future__ import annotations

import sqlite3
import time

BUSY_SECONDS = 30.0  # to wait for another process to have written


def use_write_ahead_log(file: sqlite3.Connection) -> None:
    """Write-ahead logging, so that nobody who reads waits for one who writes. To turn it on, SQLite
    waits for nobody: two processes that begin together must try again."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            file.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
