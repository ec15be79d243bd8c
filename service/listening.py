"""The socket that a service listens on."""

from __future__ import annotations

import socket

from models.errors import InvalidConfig
from service.settings import Settings


def bound_socket(settings: Settings, port: int, *, is_shared: bool) -> socket.socket:
    """A socket at the settings' address, that does not listen yet.

    Args:
        port: 0 takes a free one.
        is_shared: other processes may have one at the same port, and the kernel spreads
            connections over those that listen.
    Raises:
        InvalidConfig: the address is taken, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if is_shared:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind((settings.host, port))
    except OSError as error:
        found.close()
        where = f"{settings.host}:{port}"
        raise InvalidConfig(f"cannot listen on {where}: {error.strerror}", "port") from error
    return found
