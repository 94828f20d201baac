"""Log events: ``noun.verb`` and fields, without secrets; for people on a terminal, as JSON lines elsewhere."""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO

import structlog


def configure(*, level: str = "info", as_json: bool = False, stream: TextIO | None = None) -> None:
    """Once, at the start of a command. Libraries' own records come out the same way, warnings and worse."""
    stream = stream or sys.stderr
    for_people = stream.isatty() and not as_json
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(colors=True, exception_formatter=structlog.dev.plain_traceback)
        if for_people
        else structlog.processors.JSONRenderer(serializer=_as_json)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _as_json(event: object, **_options: object) -> str:
    """What ``json.dumps`` gives, without an encoder of its own for every line."""
    return _ENCODER.encode(event)


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=repr)
