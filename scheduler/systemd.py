"""Tell systemd how we are [sd_notify(3), sd_watchdog_enabled(3)]; elsewhere, tell nobody.

What systemd hands over stands in the environment, which the composition root reads and passes in:
``notify(READY, socket_path=environ.get("NOTIFY_SOCKET"))``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import timedelta

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"

_PATIENCE = 1.0  # s: systemd reads at once, or something is wrong that waiting does not mend


def status(text: str) -> str:
    """The line that ``systemctl status`` shows; may be joined to another state: ``f"{READY}\\n{status(…)}"``."""
    return f"STATUS={' '.join(text.split())}"


def notify(state: str, *, socket_path: str | None) -> bool:
    """Whether systemd was told. Never raises; without a socket there is nobody to tell."""
    if not socket_path or socket_path[0] not in "/@":  # a path, or Linux' abstract namespace
        return False
    address = "\0" + socket_path[1:] if socket_path.startswith("@") else socket_path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(_PATIENCE)
            manager.connect(address)
            manager.sendall(state.encode())
    except (OSError, ValueError):  # gone, full, or not a name; our work does not depend on it
        return False
    return True


def watchdog_interval(environ: Mapping[str, str]) -> timedelta | None:
    """How often to send :data:`WATCHDOG`: half of what systemd allows; None when it does not watch this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0):
        return None
    return timedelta(microseconds=int(microseconds)) / 2
