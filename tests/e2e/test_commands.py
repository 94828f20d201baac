"""What each command prints: JSON of the documented shape, tables for people, plain lines for other programs."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from scheduler.cli import main
from tests.e2e.conftest import Finished


@dataclass(frozen=True)
class CommandLine:
    """The command in this process, without the second that starting one takes; else as a shell would run it."""

    folder: Path
    environ: Mapping[str, str]
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(
        self, *arguments: str, text: str = "", environ: Mapping[str, str] | None = None, without: str = ""
    ) -> Finished:
        """Run to the end; ``text`` is what it reads on standard input, ``without`` a variable that is not set."""
        with self.monkeypatch.context() as here:
            for name in os.environ:
                if name.startswith("PAPERROUND_"):
                    here.delenv(name)
            for name, value in {**self.environ, **(environ or {})}.items():
                if name != without:
                    here.setenv(name, value)
            here.chdir(self.folder)
            here.setattr(sys, "argv", ["paperround", *arguments])
            here.setattr(sys, "stdin", io.StringIO(text))
            self.capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
            out, err = self.capsys.readouterr()
        return Finished(int(str(ended.value.code or 0)), out, err)

    def must(self, *arguments: str, text: str = "") -> Any:
        """Run with ``--json``; its document, once it went well."""
        finished = self.run(*arguments, "--json", text=text)
        assert finished.code == 0, finished.err
        return finished.json


@contextmanager
def restored_logging() -> Iterator[None]:
    """Commands set logging up for their process; here it is the next test's, too."""
    handlers, level = logging.root.handlers[:], logging.root.level
    configured = structlog.get_config() if structlog.is_configured() else None
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults() if configured is None else structlog.configure(**configured)
