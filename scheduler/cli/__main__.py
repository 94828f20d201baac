"""``python -m scheduler.cli``: the same command, wherever its script may be."""

from scheduler.cli import main

main()
