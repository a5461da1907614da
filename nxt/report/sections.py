"""Sections of a report that tell what was found: summary, front, drawings, and how the trials went.

Each function returns the body of a section, empty where there is nothing to tell.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from nxt.analysis import timeline as clock
from nxt.analysis.error_distribution import population, quantiles
from nxt.arch.costs import Cost
from nxt.files import data_place
from nxt.report import plotly_figures as figures
from nxt.report.markup import Html, code, details, escape, facts, joined, notes, paragraph, plot, table
from nxt.report.published import published
from nxt.report.report_data import Subject
from nxt.report.svg import drawings
from nxt.search.ranking import Entry
from nxt.search.request import UNLIMITED
from nxt.search.results.run import arch_file
from nxt.search.trial import Outcome
from nxt.space.arch_list import ArchList
from nxt.units import format_count, format_seconds


def summary(subject: Subject) -> Html:
    """Return the verdict, what was asked, and the commands to go on with."""
    run = subject.run
    said = [run.verdict(), run.stopping(), "" if subject.trust is None else subject.trust.verdict()]
    return joined(
        [
            *(paragraph(text, "verdict" if index == 0 else "") for index, text in enumerate(said) if text),
            _next_steps(subject),
            facts(_asked(subject)),
        ]
    )


def front(subject: Subject) -> Html:
    """Return the front as figure and table, each member with its file and commands, and the zoo's neighbours."""
    run = subject.run
    if not run.front:
        return Html("")
    letters = " A shared letter: no clear difference." if any(run.ties.values()) else ""
    caption = f"The front, by rising cost (* the best, best.yaml).{letters}"
    columns = ["architecture", "MACs", "params", "acts", subject.measure, "seeds", "tie", "P(front)", "reference"]
    rows = [_front_row(subject, entry) for entry in run.front]
    told = paragraph(
        f"All {len(run.entries)} architectures that reached the last epoch. The line is the front, its bars are "
        f"standard errors ({run.noise_sources()})."
    )
    return joined(
        [
            told,
            plot(
                figures.front(subject), f"{subject.measure} against {run.objective} of all finished architectures", 460
            ),
            table(columns, rows, caption, text=[8]),
            *(_files(subject, entry) for entry in run.front),
            _neighbours(subject),
        ]
    )


def drawn(subject: Subject) -> Html:
    """Return a drawing of each member of the front."""
    run = subject.run
    if not run.front:
        return Html("")
    cells = (
        f"<figure><figcaption>{escape(entry.spec.name)}</figcaption>{drawing}</figure>"
        for entry, drawing in zip(run.front, drawings([entry.spec for entry in run.front]), strict=True)
    )
    told = (
        "Boxes are stages from input (top) to output: as high as they have blocks, as wide as they have channels, all "
    )
    told += (
        "to one scale. C x d are groups and channels per group of the 3x3 convolution; px is the side of the output."
    )
    return joined([paragraph(told), Html(f'<div class="drawings">{"".join(cells)}</div>')])


def progress(subject: Subject) -> Html:
    """Return the hypervolume against time, beside that of the run which it is held against."""
    objective, other = subject.run.objective, subject.other
    beside = [] if other is None else other.first
    points = clock.growth(subject.first, subject.times, objective, beside)
    if len(points) < 2:
        return Html("")
    told = (
        "What the trials dominate together, after each one that reached the last epoch: first trainings alone, "
        f"{subject.measure} and log {objective} scaled to their range, above the lowest accuracy at the "
        f"highest cost. {_proposed(subject)}"
    )
    if other is None:
        return joined([paragraph(told), plot(figures.growth(points), "hypervolume against time", 340)])
    told += f" Grey: {other.run.path}, {other.settings.sampler}, on the same scale; 100 % is what both found together."
    random = other.settings.sampler == "random"
    if random:
        told += " Trials drawn by chance might have come in any order: the line is the mean over them."
    given = other.first, other.times, objective, subject.first
    found = clock.chance(*given) if random else clock.growth(*given)
    drawn = figures.growth(points, found, (subject.settings.sampler, other.settings.sampler))
    return joined([paragraph(told), plot(drawn, "hypervolume against time", 340)])


def _proposed(subject: Subject) -> str:
    """Say where the architectures came from."""
    if isinstance(subject.space, ArchList):
        return "In the order of the list."
    if subject.settings.sampler == "random":
        return "The sampler was random: this is what drawing uniformly finds."
    hint = "" if subject.other else " Against a search with search.sampler=random (nxt report --against) it says more."
    return f"Proposed by {subject.settings.sampler}.{hint}"


def curves(subject: Subject) -> Html:
    """Return the learning curves of all trials."""
    trials = [trial for trial in subject.run.trials if trial.curve]
    if not trials:
        return Html("")
    rungs = ", ".join(map(str, subject.rungs))
    told = f"Validation {subject.measure} by epoch of {len(trials)} trials; click on a kind in the legend to hide it."
    told += f" At the rungs (epoch {rungs}) trials are compared, and stopped or let go on." if rungs else ""
    return joined([paragraph(told), plot(figures.curves(subject), "learning curves by outcome")])


def errors(subject: Subject) -> Html:
    """Return the error distribution function of what was drawn."""
    if not any(not trial.role for trial in subject.first):
        return Html("")
    found = population(subject.run, subject.run.objective)
    weights = [1.0] * len(found.errors)
    low, middle, high = quantiles(found.errors, weights, [0.25, 0.5, 0.75]).tolist()
    told = f"Share of architectures with at most that error. Quartiles: {low:.1%}, {middle:.1%}, {high:.1%}."
    shown = plot(figures.errors(found, weights), "error distribution function", 360)
    return joined([paragraph(told), shown, notes(found.notes)])


def timeline(subject: Subject) -> Html:
    """Return the trials over time."""
    bars = clock.lanes(subject.run.trials, subject.times)
    if not bars:
        return Html("")
    count = 1 + max(bar.lane for bar in bars)
    busy = sum(bar.trial.seconds for bar in bars)
    told = (
        f"{len(bars)} trials over {format_seconds(max(bar.ended for bar in bars))}; training and evaluating took "
        f"{format_seconds(busy)} in all. Which worker trained a trial is not recorded: trials are packed into as few "
        "lanes as hold them without overlap. A trial begins when it is suggested."
    )
    return joined([paragraph(told), plot(figures.timeline(bars), "trials over time", min(640, 130 + 26 * count))])


def failures(subject: Subject) -> Html:
    """Return how trials failed, with their messages."""
    failed = [trial for trial in subject.run.trials if trial.outcome.failed]
    if not failed:
        return Html("")
    kinds = dict.fromkeys((trial.outcome, trial.message) for trial in failed)
    rows = []
    for outcome, message in sorted(kinds, key=lambda kind: list(Outcome).index(kind[0])):
        own = [trial for trial in failed if (trial.outcome, trial.message) == (outcome, message)]
        numbers = ", ".join(str(trial.number) for trial in own[:12]) + (", ..." if len(own) > 12 else "")
        rows.append([outcome, len(own), numbers, own[0].spec.name, message])
    columns = ["kind", "trials", "numbers", "the first", "message"]
    told = paragraph(
        f"{len(failed)} of {len(subject.run.trials)} trials ended without a verdict on their architecture."
    )
    return joined([told, table(columns, rows, text=[2, 3, 4])])


def _asked(subject: Subject) -> dict[str, object]:
    """Return what was asked of the search, and where it stands."""
    run, record, proxy = subject.run, subject.run.record, subject.run.record["proxy"]
    explored = sum(not trial.repeat for trial in run.trials)
    trials = f"{explored} explored"
    if isinstance(subject.space, ArchList):
        trials = f"{record['trials']} asked, {len(run.trials)} begun"
    elif record["trials"] != UNLIMITED:
        trials = f"{record['trials']} asked, {trials}"
    if not isinstance(subject.space, ArchList) and len(run.trials) > explored:
        trials += f", {len(run.trials) - explored} more to confirm"
    images = f"{record['train_images']} training and {record['val_images']} validation images"
    searched = f"{subject.settings.sampler} sampler, scheduler {subject.settings.scheduler}"
    size = f"{subject.space.size:,} architectures"
    return {
        "Space": f"{record['space_name']}, {size}",
        "Budget": f"{record['budget_rule']} ({record['convention']})",
        "Data": f"{data_place(record['data'])}, {images}",
        "Trained": proxy.get("about", ""),
        "Epochs": f"{proxy['epochs']}, recipe {proxy['recipe']}",
        "Search": "" if isinstance(subject.space, ArchList) else searched,
        "Seed": str(record["seed"]),
        "Trials": trials,
        "By state": _tally(subject) or "none begun",
        "Stands": "the search is at work" if run.active else "",
    }


def _tally(subject: Subject) -> str:
    run = subject.run
    words = {outcome: str(outcome) for outcome in Outcome}
    if not run.active:
        words[Outcome.RUNNING] = "cut off"
    return ", ".join(f"{run.count(outcome)} {word}" for outcome, word in words.items() if run.count(outcome))


def _next_steps(subject: Subject) -> Html:
    """Return the commands to go on with from the best."""
    run = subject.run
    if run.best is None:
        return Html("")
    if run.full:
        first = max(run.best.trials, key=lambda trial: trial.accuracy or 0.0)
        return code(f"nxt eval {_quoted(run.path / 'trials' / f'{first.number}.pt')}")
    return code(_commands(run.path / "best.yaml"))


def _commands(file: Path) -> str:
    return f"nxt train {_quoted(file)}\nnxt profile {_quoted(file)}"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _front_row(subject: Subject, entry: Entry) -> list[object]:
    row = subject.run.row(entry)
    name = escape(entry.spec.name + (" *" if entry is subject.run.best else ""))
    return [
        Html(f'<a href="#{_anchor(entry)}">{name}</a>'),
        *_counts(entry.cost),
        f"{entry.accuracy:.1%} \u00b1 {100 * row['accuracy_error']:.1f}",
        entry.seeds,
        row["ties"],
        f"{row['front_probability']:.0%}",
        entry.role,
    ]


def _files(subject: Subject, entry: Entry) -> Html:
    """Return a front member's file and commands, folded."""
    file = subject.run.path / subject.run.row(entry)["yaml"]
    inside = joined([code(_commands(file)), code(arch_file(entry, subject.run))])
    return Html(f'<div id="{_anchor(entry)}">{details(f"{entry.spec.name}: commands and YAML", inside)}</div>')


def _anchor(entry: Entry) -> str:
    return f"arch-{entry.spec.fingerprint}"


def _neighbours(subject: Subject) -> Html:
    """Return the published networks of about the cost of what was trained, for orientation."""
    near = published(subject.run)
    if not near:
        return Html("")
    rows = []
    for entry, its in near:
        first = entry.published[0]
        rows.append([entry.name, *_counts(its), f"{first.top1:.2f} @{first.size}", first.dataset, first.source])
    told = (
        "For orientation, and as ticks in the figure. Accuracies are others', on the data named and each under its own "
        f"recipe; those above are on {data_place(subject.run.record['data'])}: the two do not compare."
    )
    columns = ["network", "MACs", "params", "acts", "top-1 @px", "data", "source"]
    return details(
        f"{len(near)} published network{'s' * (len(near) > 1)} of similar cost",
        joined([paragraph(told), table(columns, rows, text=[5, 6])]),
    )


def _counts(of: Cost) -> list[str]:
    return [format_count(getattr(of, key), 4) for key in ("macs", "params", "acts")]
