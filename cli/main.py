"""The `nxt` command. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import atexit
import errno
import io
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from nxt import __version__
from nxt.errors import NxtError

from .lazy import CONTEXT, LazyGroup

app = typer.Typer(
    name="nxt",
    cls=LazyGroup,
    help="Architecture search and model zoo for the ResNeXt/ResNeSt family.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
)

_debug = False


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nxt {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Stores the options that apply to every command."""
    global _debug
    _debug = debug


# OpenMP reads this when torch is imported. Threads that spin while they wait make training on a CPU ten times slower
# if other programs run on the machine. On an idle machine they are up to twice as fast: set it to ACTIVE there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> None:
    """Runs the command line; an `NxtError` becomes one line on stderr and exit code 1."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by the caller
            setattr(sys, stream, Path(os.devnull).open("w"))  # noqa: SIM115  # for the rest of the process
        if isinstance(getattr(sys, stream), io.TextIOWrapper):  # names of classes may not exist in the encoding
            getattr(sys, stream).reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except NxtError as error:
        if _debug:
            raise
        from .messages import explained

        typer.echo(f"nxt: {explained(error)}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output has closed it
        sys.exit(1)
    except OSError as error:
        if _debug or error.errno != errno.ENOSPC:
            raise
        typer.echo("nxt: no space is left where the output goes; make room and try again", err=True)
        os._exit(1)  # else Python would write the output again, and fail again


def program() -> NoReturn:
    """Runs `main` as a process of its own, which ends without taking the interpreter apart.

    With torch loaded that takes a second or two. What libraries have registered for the end is run all the same.
    """
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by whoever read it; `main` has seen to that
            stream.flush()
    os._exit(code)
