"""The real command as a process of its own; only its requests say which process sent them."""

from __future__ import annotations

from scheduler.cli import main
from tests.crash import points

if __name__ == "__main__":
    points.install(None, 1)
    main()
