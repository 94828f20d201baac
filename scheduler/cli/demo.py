"""``paperround demo``."""


def demo() -> None:
    """x"""
