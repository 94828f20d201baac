"""The command line: ``paperround``. Exit 0 = fine, 1 = it ran and some delivery failed, 2 = usage or configuration."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from scheduler import logs
from scheduler.cli import catalog, deliveries, demo, keys, mcp, projects, running, subscriptions, users, verify
from scheduler.db import first_line
from scheduler.errors import InvalidField, PaperroundError

app = typer.Typer(
    name="paperround",
    help="Delivers the dashboards and insights people subscribed to, on schedule, and keeps a true record of it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
for command in (running.init, running.serve, running.run_due, running.preview, verify.verify, demo.demo, mcp.mcp):
    app.command()(command)
for name, group in (
    ("subscriptions", subscriptions.app),
    ("deliveries", deliveries.app),
    ("insights", catalog.insights),
    ("dashboards", catalog.dashboards),
    ("sources", catalog.sources),
    ("integrations", catalog.integrations),
    ("projects", projects.app),
    ("keys", keys.app),
    ("users", users.app),
):
    app.add_typer(group, name=name)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"paperround {installed_version('paperround')}")
        raise typer.Exit


@app.callback()
def _everywhere(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say on standard error what happens.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback has the effect
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logs.configure(level="info" if verbose else "warning")


def main() -> None:
    """Run a command; what a person can mend is one line on standard error, never a traceback."""
    try:
        exit_code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except typer.BadParameter as wrong:
        _complain(f"{' '.join(wrong.format_message().split())} ({_see(wrong)})")
    except typer.TyperException as usage:
        said = " ".join(str(usage).split()) or "name a command"  # without one, the help was printed
        _complain(f"{said} ({_see(usage)})")
    except InvalidField as problem:
        names_it = problem.field is None or str(problem).startswith(problem.field)
        _complain(str(problem) if names_it else f"{problem.field}: {problem}")
    except PaperroundError as problem:
        _complain(str(problem))
    except SQLAlchemyError as problem:
        _complain(f"the database refused: {first_line(problem)}; is it locked, full, or changed by hand?")
    else:
        sys.exit(exit_code if isinstance(exit_code, int) else 0)


def _see(usage: typer.TyperException) -> str:
    context = getattr(usage, "ctx", None)
    return f"see `{'paperround' if context is None else context.command_path} --help`"


def _complain(problem: str) -> None:
    print(f"paperround: {problem}", file=sys.stderr)
    sys.exit(2)
