"""The outside world: one module a channel, all behind the seam in ``channels.base``.

Nothing here knows of schedules, databases or settings; nothing here imports from ``scheduler``.
"""
