"""Makes the sections of a report on the result: summary, front, drawings, and the trials.

Each function returns the body of a section, empty if the run has no data for it.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from nxt.analysis.error_distribution import population, quantiles
from nxt.analysis.timeline import growth, growth_by_chance, lanes
from nxt.report import plotly_figures
from nxt.report.markup import Html, code, details, escape, facts, joined, notes, paragraph, plot, table
from nxt.report.published import published
from nxt.report.report_data import ReportData
from nxt.report.svg import draw
from nxt.search.ranking import RankedArch
from nxt.search.results.ablation import COLUMNS, ablation_table
from nxt.search.results.ablation import ablation as compared
from nxt.search.results.files import arch_file
from nxt.search.results.front_table import columns, front_table
from nxt.search.trial import Outcome
from nxt.units import format_count, format_seconds, plural


def summary(data: ReportData) -> Html:
    """Returns the section with the verdict, the request, and the next commands."""
    run = data.run
    verdicts = [run.verdict(), run.stopping(), "" if data.trust is None else data.trust.verdict()]
    texts = [paragraph(text, "verdict" if index == 0 else "") for index, text in enumerate(verdicts) if text]
    return joined([*texts, _next_steps(data), facts(_request(data))])


def front(data: ReportData) -> Html:
    """Returns the section with the front as figure and table, its files, and published networks of similar cost."""
    run = data.run
    if not run.front:
        return Html("")
    letters = " A shared letter: no clear difference." if any(run.ties.values()) else ""
    caption = f"The front, by rising cost (* the best, best.yaml).{letters}"
    heads = [data.measure if name == "accuracy" else name for name in columns(run)]
    rows = [
        [Html(f'<a href="#{_anchor(entry)}">{escape(name)}</a>'), *cells]
        for entry, (name, *cells) in zip(run.front, front_table(run), strict=True)
    ]
    explanation = (
        f"All {len(run.entries)} architectures that reached the last epoch. The line is the front, its bars are "
        f"standard errors ({run.noise_sources()})."
    )
    label = f"{data.measure} against {run.objective} of all finished architectures"
    return joined(
        [
            paragraph(explanation),
            plot(plotly_figures.front(data), label, 460),
            paragraph(run.latency_note()) if run.request.latency is not None else Html(""),
            table(heads, rows, caption, text=[len(heads) - 1]),
            *(_files(data, entry) for entry in run.front),
            _neighbours(data),
        ]
    )


def ablation(data: ReportData) -> Html:
    """Returns the section with all networks of a list against the first one."""
    rows = compared(data.run)
    if not rows:
        return Html("")
    caption = "Differences of mean accuracies in points, with 95 % intervals by Welch's t. ablation.csv, ablation.md."
    return table(COLUMNS, ablation_table(rows), caption, text=[len(COLUMNS) - 1])


def drawings(data: ReportData) -> Html:
    """Returns the section with a drawing of each member of the front."""
    run = data.run
    if not run.front:
        return Html("")
    size, _ = run.request.space.counted
    cells = (
        f"<figure><figcaption>{escape(entry.spec.name)}</figcaption>{drawing}</figure>"
        for entry, drawing in zip(run.front, draw([entry.spec for entry in run.front], size), strict=True)
    )
    explanation = (
        "Boxes are stages from input (top) to output: as high as they have blocks, as wide as they have channels, all "
        "to one scale. C x d are groups and channels per group of the 3x3 convolution; px is the side of the output."
    )
    return joined([paragraph(explanation), Html(f'<div class="drawings">{"".join(cells)}</div>')])


def progress(data: ReportData) -> Html:
    """Returns the section with the hypervolume over time, also of another run to compare with."""
    objective, other = data.run.objective, data.other
    points = growth(data.first, data.times, objective, [] if other is None else other.first)
    if len(points) < 2:
        return Html("")
    explanation = (
        "What the trials dominate together, after each one that reached the last epoch: first trainings alone, "
        f"{data.measure} and log {objective} scaled to their range, above the lowest accuracy at the "
        f"highest cost. {_proposed(data)}"
    )
    if other is None:
        return joined([paragraph(explanation), plot(plotly_figures.growth(points), "hypervolume against time", 340)])
    sampler = other.run.request.settings.sampler
    explanation += f" Grey: {other.run.path}, {sampler}, on the same scale; 100 % is what both found together."
    random = sampler == "random"
    if random:
        explanation += " Trials drawn by chance might have come in any order: the line is the mean over them."
    other_growth = growth_by_chance if random else growth
    other_points = other_growth(other.first, other.times, objective, data.first)
    figure = plotly_figures.growth(points, other_points, (data.run.request.settings.sampler, sampler))
    return joined([paragraph(explanation), plot(figure, "hypervolume against time", 340)])


def _proposed(data: ReportData) -> str:
    """Returns a sentence on where the architectures come from."""
    sampler = data.run.request.settings.sampler
    if data.run.request.is_list:
        return "In the order of the list."
    if sampler == "random":
        return "The sampler was random: this is what drawing uniformly finds."
    hint = "" if data.other else " Against a search with search.sampler=random (nxt report --against) it says more."
    explored = [trial for trial in data.run.trials if not trial.replicate]
    drawn, references = data.drawn, sum(bool(trial.family) for trial in explored)
    origins = f"Of {len(explored)} architectures {references} were references"
    if drawn is not None:
        origins += f", {drawn} drawn before {sampler} had a model ({data.setup.model_begins} results)"
    return f"{origins}, {len(explored) - references - (drawn or 0)} proposed by {sampler}.{hint}"


def curves(data: ReportData) -> Html:
    """Returns the section with the learning curves of all trials."""
    trials = [trial for trial in data.run.trials if trial.curve]
    if not trials:
        return Html("")
    rungs = ", ".join(map(str, data.setup.rungs))
    explanation = (
        f"Validation {data.measure} by epoch of {len(trials)} trials; click on a kind in the legend to hide it."
    )
    explanation += f" At the rungs (epoch {rungs}) trials are compared, and stopped or let go on." if rungs else ""
    return joined([paragraph(explanation), plot(plotly_figures.curves(data), "learning curves by outcome")])


def errors(data: ReportData) -> Html:
    """Returns the section with the error distribution of the sampled architectures."""
    if not any(not trial.family for trial in data.first):
        return Html("")
    sample = population(data.run, data.run.objective)
    weights = [1.0] * len(sample.errors)
    low, middle, high = quantiles(sample.errors, weights, [0.25, 0.5, 0.75]).tolist()
    explanation = f"Share of architectures with at most that error. Quartiles: {low:.1%}, {middle:.1%}, {high:.1%}."
    figure = plot(plotly_figures.errors(sample, weights), "error distribution function", 360)
    return joined([paragraph(explanation), figure, notes(sample.notes)])


def timeline(data: ReportData) -> Html:
    """Returns the section with the trials over time."""
    bars = lanes(data.run.trials, data.times)
    if not bars:
        return Html("")
    count = 1 + max(bar.lane for bar in bars)
    busy = sum(bar.trial.seconds for bar in bars)
    explanation = (
        f"{len(bars)} trials over {format_seconds(max(bar.ended for bar in bars))}; training and evaluating took "
        f"{format_seconds(busy)} in all. Which worker trained a trial is not recorded: trials are packed into as few "
        "lanes as hold them without overlap. A trial begins when it is suggested."
    )
    return joined(
        [
            paragraph(explanation),
            plot(plotly_figures.timeline(bars, data.run.active), "trials over time", min(640, 130 + 26 * count)),
        ]
    )


def failures(data: ReportData) -> Html:
    """Returns the section on failed trials with their messages."""
    failed = [trial for trial in data.run.trials if trial.outcome.failed]
    if not failed:
        return Html("")
    kinds = dict.fromkeys((trial.outcome, trial.message) for trial in failed)
    rows = []
    for outcome, message in sorted(kinds, key=lambda kind: list(Outcome).index(kind[0])):
        own = [trial for trial in failed if (trial.outcome, trial.message) == (outcome, message)]
        numbers = ", ".join(str(trial.number) for trial in own[:12]) + (", ..." if len(own) > 12 else "")
        rows.append([outcome, len(own), numbers, own[0].spec.name, message])
    columns = ["kind", "trials", "numbers", "the first", "message"]
    explanation = paragraph(
        f"{len(failed)} of {len(data.run.trials)} trials ended without a verdict on their architecture."
    )
    return joined([explanation, table(columns, rows, text=[2, 3, 4])])


def _request(data: ReportData) -> dict[str, object]:
    """Returns the request and the progress of the search, by heading."""
    run, request = data.run, data.run.request
    explored = sum(not trial.replicate for trial in run.trials)
    trials = f"{explored} explored"
    if request.is_list:
        trials = f"{request.trials} asked, {len(run.trials)} begun"
    elif request.trials is not None:
        trials = f"{request.trials} asked, {trials}"
    if not request.is_list and len(run.trials) > explored:
        trials += f", {len(run.trials) - explored} more to confirm"
    images = f"{run.record.train_images} training and {run.record.val_images} validation images"
    searched = f"{request.settings.sampler} sampler, scheduler {request.settings.scheduler}"
    size = f"{request.space.size:,} architectures"
    return {
        "Space": f"{request.space.name}, {size}",
        "Budget": f"{request.budget} ({request.convention})",
        "Data": f"{request.data.display}, {images}",
        "Trained": f"{'full' if run.full else 'proxy'} training: {run.record.trained}",
        "Search": "" if request.is_list else searched,
        "Seed": str(request.seed),
        "Trials": trials,
        "By state": _tally(data) or "none begun",
        "Stands": "the search is at work" if run.active else "",
    }


def _tally(data: ReportData) -> str:
    run = data.run
    words = {outcome: str(outcome) for outcome in Outcome}
    if not run.active:
        words[Outcome.RUNNING] = "cut off"
    return ", ".join(f"{run.count(outcome)} {word}" for outcome, word in words.items() if run.count(outcome))


def _next_steps(data: ReportData) -> Html:
    """Returns the next commands for the best architecture."""
    run = data.run
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


def _files(data: ReportData, entry: RankedArch) -> Html:
    """Returns the commands for a member of the front, and its file, folded."""
    file = data.run.path / data.run.row(entry)["yaml"]
    inside = joined([code(_commands(file)), code(arch_file(entry, data.run))])
    return Html(f'<div id="{_anchor(entry)}">{details(f"{entry.spec.name}: commands and YAML", inside)}</div>')


def _anchor(entry: RankedArch) -> str:
    return f"arch-{entry.spec.fingerprint}"


def _neighbours(data: ReportData) -> Html:
    """Returns a table of published networks that cost about as much as those of the run."""
    near = published(data.run)
    if not near:
        return Html("")
    rows = []
    for entry, cost in near:
        first = entry.published[0]
        counts = [format_count(getattr(cost, key), 4) for key in ("macs", "params", "acts")]
        rows.append([entry.name, *counts, f"{first.top1:.2f} @{first.size}", first.dataset, first.source])
    explanation = (
        "For orientation, and as ticks in the figure. Accuracies are others', on the data named and each under its own "
        f"recipe; those above are on {data.run.request.data.display}: the two do not compare."
    )
    columns = ["network", "MACs", "params", "acts", "top-1 @px", "data", "source"]
    return details(
        f"{plural(len(near), 'published network')} of similar cost",
        joined([paragraph(explanation), table(columns, rows, text=[5, 6])]),
    )
