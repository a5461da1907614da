"""`nxt doctor`: tells whether this machine is as nxt needs it."""

from __future__ import annotations

import dataclasses

import typer

from .. import options
from ..messages import as_options
from ..terminal import tables


def doctor(as_json: options.Json = False) -> None:
    """Show what nxt finds on this machine, and what to do about it.

    The exit code is 1 if there is a problem: nxt, or a part of it, does not work. Takes some seconds; starts nothing.
    """
    from nxt.compute.doctor import judge
    from nxt.compute.machine import gather

    findings = [dataclasses.replace(each, advice=as_options(each.advice)) for each in judge(gather())]
    problems = [each for each in findings if each.state == "problem"]
    if as_json:
        tables.print_json({"usable": not problems, "findings": [dataclasses.asdict(each) for each in findings]})
    else:
        for each in findings:
            tables.say(f"{each.state:<8} {each.subject}: {each.found}" + (f" - {each.advice}" if each.advice else ""))
        warnings = sum(each.state == "warning" for each in findings)
        tables.say(f"{len(problems)} problem(s), {warnings} warning(s)" if problems or warnings else "all is well")
    if problems:
        raise typer.Exit(1)
