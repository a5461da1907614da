"""The report of a search: what each section says, what is left out, and that nothing in it can break the page."""

import dataclasses
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import optuna
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs
from reports import BUDGET, EVIL, POINTS, SPACE, planted, report_data, some, trial

from nxt.analysis.timeline import Bar
from nxt.arch.breakdown import portions
from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.data.ref import DataRef
from nxt.errors import NxtError, RunError
from nxt.report import plotly_figures as figures
from nxt.report import svg as drawing
from nxt.report.markup import Html, escape, plot, table
from nxt.report.page import write_report
from nxt.report.paper import draw_figures
from nxt.report.report_data import load_report_data
from nxt.report.sections import drawings
from nxt.search.new_request import full_request, make_request
from nxt.search.study.database import DurableStudy
from nxt.search.study.timestamps import Span, read_times
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.budget import Budget, parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import space_from_dict
from nxt.train.recipe import load_recipe

ALL = {
    "summary", "front", "drawings", "hypervolume", "curves", "errors", "effects", "gate", "timeline", "failures",
    "trust", "provenance",
}  # fmt: skip


class Page(HTMLParser):
    """A page taken apart: its elements, the text of scripts, and whether every element is closed."""

    VOID = ("meta", "link", "rect", "line")

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.scripts, self.text = [], [], [], ""
        self.feed(text.replace(get_plotlyjs(), "PLOTLY"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs).get("type", "code"), ""))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            kind, text = self.scripts[-1]
            self.scripts[-1] = kind, text + data
        else:
            self.text += data

    def all(self, tag, key):
        return [attrs[key] for name, attrs in self.elements if name == tag and key in attrs]

    @property
    def figures(self):
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


def report(given, folder):
    names = write_report(given, folder / "report.html")
    return names, Page((folder / "report.html").read_text(encoding="utf-8"))


# The page


def test_a_search_that_has_everything_has_every_section_and_a_link_to_each(tmp_path):
    names, page = report(report_data(some(40)), tmp_path)
    assert set(names) == ALL == set(page.all("section", "id"))
    links = [link[1:] for link in page.all("a", "href") if link.startswith("#")]
    assert links[: len(names)] == names == page.all("section", "id")
    assert set(links) <= {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert len(page.all("div", "aria-label")) == len(page.figures) > 20
    given = report_data(some(40))
    for said in (
        given.run.verdict(),
        given.run.stopping(),
        "nxt train here/best.yaml",
        "Kendall's tau",
        "ehvi sampler",
    ):
        assert said in page.text


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        (report_data([]), ALL - {"summary", "gate", "provenance"}),
        (report_data([trial(0, 0.5)]), {"effects", "failures", "hypervolume"}),
        (report_data([trial(0, 0.5)], times=False), {"effects", "failures", "hypervolume", "timeline"}),
        (
            report_data([trial(0, 0.4, Outcome.RUNNING, 1)]),
            ALL - {"summary", "curves", "gate", "timeline", "provenance"},
        ),
        (report_data([trial(0, 0.5, family="ResNet-like")]), {"effects", "errors", "failures", "hypervolume"}),
        (report_data([trial(n, planted(n)) for n in range(19)]), {"effects", "failures"}),
        (report_data([trial(n, planted(n)) for n in range(20)]), {"failures"}),
        (report_data([trial(n, planted(n)) for n in range(20)], budget=Budget()), {"failures", "gate"}),
        (report_data([trial(n, 0.5) for n in range(25)]), {"failures", "hypervolume"}),
    ],
)
def test_what_there_is_nothing_to_tell_of_is_left_out(tmp_path, given, missing):
    names, page = report(given, tmp_path)
    assert set(names) == ALL - missing == set(page.all("section", "id"))
    assert given.run.verdict() in page.text


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (
            20,
            "Of 20 architectures 1 were references, 5 drawn before ehvi had a model (5 results), 14 proposed by ehvi.",
        ),
        (4, "Of 4 architectures 1 were references, 3 drawn before ehvi had a model (5 results), 0 proposed by ehvi."),
    ],
)
def test_what_proposed_the_architectures_is_counted(tmp_path, count, told):
    trials = [trial(n, planted(n), family="" if n else "ResNet-like") for n in range(count)]
    given = report_data([*trials, trial(count, 0.6, of=0, replicate=1)])
    assert told in report(given, tmp_path)[1].text
    assert given.drawn == min(5, count - 1)


def test_a_list_has_neither_axes_nor_a_gate(tmp_path):
    trials = [trial(n, 0.5 + 0.01 * n, of=n % 10, replicate=1 + n // 10) for n in range(20)]
    specs = tuple(SPACE.spec(point) for point in POINTS[:10])
    listed = [dataclasses.replace(t, point=(t.number % 10,)) for t in trials]
    request = make_request(ArchList(specs), parse_budget({}), "digits", 1, 0, repeats=2)
    names, page = report(report_data(listed, request=request), tmp_path)
    assert set(names) == (ALL | {"ablation"}) - {"effects", "gate", "failures"}
    assert "against the first" in page.text and "baseline" in page.text
    assert "list, 10 architectures" in page.text and "20 asked, 20 begun" in page.text
    assert "sampler" not in page.text.partition("run.yaml, the whole record")[0]


def test_a_study_of_full_trainings_speaks_of_no_proxy(tmp_path):
    specs = tuple(SPACE.spec(point) for point in POINTS[:2])
    request = full_request(ArchList(specs), DataRef("digits"), "quick", load_recipe("quick"), 0, 1)
    trials = [dataclasses.replace(trial(n, 0.5 + 0.1 * n, replicate=1), point=(n,)) for n in range(2)]
    _, page = report(report_data(trials, request=request), tmp_path)
    assert "proxy" not in page.text.partition("run.yaml, the whole record")[0]
    assert "Full trainings in here" in page.text and "nxt eval here/trials/1.pt" in page.text


def test_a_stage_wise_space_has_no_pairs_of_cardinality_and_radix(tmp_path):
    axes = {"depth": [1, 2], "width": [16, 32], "ratio": [1, 2], "groups": [1, 2]}
    data = {"stages": 2, "network": {"stem": "cifar", "stem_width": 16, "radix": 0}, "axes": axes}
    space = space_from_dict(data, "stages", "here")
    points = FeasibleSet(space, parse_budget({})).sample(np.random.default_rng(0), 30)
    trials = [
        Trial(n, p, space.spec(p), space.cost(p), curve=[Epoch(1, 0.5 + n / 100, 1.0, 1.0)], outcome=Outcome.DONE)
        for n, p in enumerate(points)
    ]
    request = make_request(space, parse_budget({}), "digits", 30, 0)
    names, page = report(report_data(trials, request=request), tmp_path)
    assert "effects" in names and not any(trace["type"] == "heatmap" for f in page.figures for trace in f["data"])


def test_the_same_run_gives_the_same_bytes(tmp_path):
    write_report(report_data(some(25)), tmp_path / "a.html")
    write_report(report_data(some(25)), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_page_asks_the_network_for_nothing(tmp_path):
    _, page = report(report_data(some(25)), tmp_path)
    assert "script-src 'unsafe-inline' 'unsafe-eval'" in page.all("meta", "content")[0]
    assert "default-src 'none'" in page.all("meta", "content")[0]
    sources = [value for _, attrs in page.elements for key, value in attrs.items() if key in ("src", "href", "data")]
    assert sources and all(source.startswith(("#", "data:")) for source in sources)


def test_names_and_messages_are_text_whatever_they_hold(tmp_path):
    trials = some(25)
    for number in (0, -4):
        trials[number].message = EVIL
    trials[0].family = EVIL
    given = report_data(trials, path=EVIL, data=DataRef("folder", EVIL), space=dataclasses.replace(SPACE, name=EVIL))
    _, page = report(given, tmp_path)
    clean = report(report_data(some(25)), tmp_path)[1]
    assert [tag for tag, _ in page.elements if tag in ("img", "script")] == ["script"] * len(clean.scripts)
    assert page.text.count(EVIL) > 5
    hover = json.dumps(page.figures)
    assert "&lt;img src=x" in hover and "<img" not in hover  # plotly takes HTML in labels


def test_a_place_that_cannot_be_written_is_said_and_nothing_is_left(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(RunError, match=r"page\.html: cannot be written"):
        write_report(report_data([]), tmp_path / "page.html")
    with pytest.raises(RunError, match="cannot be written"):
        write_report(report_data([]), tmp_path / "no" / "page.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_thousand_trials_stay_light(tmp_path):
    trials = [trial(n, planted(n), epochs=9) for n in range(1000)]
    for t in trials[::3]:
        t.outcome, t.curve = Outcome.STOPPED, t.curve[:3]
    given = report_data(trials)
    report(given, tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 10_000_000
    made = figures.curves(given)
    assert [trace.name for trace in made.data] == ["done (666)", "stopped (334)"]


# Figures


def test_the_front_shows_every_finished_architecture_with_its_error():
    given = report_data(some(30))
    dominated, front, references, unproven, *_published = figures.front(given).data
    run = given.run
    assert list(front.x) == [e.cost.macs for e in run.front] and list(front.y) == [e.accuracy for e in run.front]
    assert list(front.error_y.array) == [run.error(e) for e in run.front]
    shown = {point for trace in (dominated, front, unproven) for point in zip(trace.x, trace.y, strict=True)}
    assert shown == {(e.cost.macs, e.accuracy) for e in run.entries}
    assert len(references.x) == 1 and references.x[0] == trial(0).cost.macs
    entry = run.front[-1]
    depths = "-".join(map(str, entry.spec.depths))
    told = f"{entry.accuracy:.1%} \u00b1 {100 * run.error(entry):.1f}, {entry.seeds} seed"
    for said in (entry.spec.name, depths, told, f"radix {entry.spec.radix}"):
        assert said in front.text[-1]


def test_what_stands_above_the_front_without_confirmation_is_called_that():
    once, again = [trial(n, 0.5 + n / 10) for n in range(3)], trial(9, 0.55, of=0)
    given = report_data([*once, dataclasses.replace(again, replicate=1)])
    front, unproven, *_published = figures.front(given).data
    assert (list(front.y), unproven.name) == ([0.55], "not confirmed (2)")
    assert sorted(unproven.y) == [0.6, 0.7]


def test_published_networks_of_such_cost_are_context_and_not_among_the_points(tmp_path):
    from nxt.arch.zoo import ZOO

    trials = [trial(n, 0.5) for n in range(3)]
    spec = parse_name("resnext29_8x64d_cifar")
    assert spec.size == 32
    trials.append(Trial(3, POINTS[3], spec, cost(spec), curve=[Epoch(1, 0.6, 1.0, 1.0)], outcome=Outcome.DONE))
    about = report_data(trials)
    _, page = report(about, tmp_path)
    low, high = min(t.cost.macs for t in trials) / 1.08, max(t.cost.macs for t in trials) * 1.08
    near = [e for e in ZOO.values() if e.published and e.spec.size == 32 and low <= cost(e.spec).macs <= high]
    assert near and f"{len(near)} published network{'s' * (len(near) > 1)} of similar cost" in page.text
    for entry in near:
        assert entry.name in page.text and f"{entry.published[0].top1:.2f} @32" in page.text
    assert "the two do not compare" in page.text
    assert "resnet50" not in page.text  # of another image size
    drawn = {trace.name: trace for trace in figures.front(about).data}
    ticks = drawn[f"published networks ({len(near)})"]
    assert set(ticks.x) == {getattr(cost(e.spec), about.run.objective) for e in near}
    assert max(ticks.y) < min(0.5, *(y for y in drawn["front (2)"].y)) and "other data" in ticks.hovertemplate


@pytest.mark.parametrize(("most", "every"), [(10**6, 1), (10, 8)])
def test_curves_are_one_trace_for_each_outcome_with_gaps_between_trials(monkeypatch, most, every):
    monkeypatch.setattr(figures, "_MOST", most)
    trials = [trial(0, 0.5, epochs=20), trial(1, 0.6, epochs=20), trial(2, 0.3, Outcome.STOPPED, epochs=19)]
    trials += [trial(3, 0.5, epochs=20, control_rung=2), trial(4, None, Outcome.OOM)]
    made = figures.curves(report_data(trials))
    assert [trace.name for trace in made.data] == ["done (2)", "control (1)", "stopped (1)"]
    done = made.data[0]
    epochs = [e for e in range(1, 21) if (e - 1) % every == 0 or e == 20]
    assert [None if math.isnan(x) else x for x in done.x] == [*epochs, None] * 2
    assert list(done.customdata) == [0] * (len(epochs) + 1) + [1] * (len(epochs) + 1)
    values = [row.accuracy for t in trials[:2] for row in t.curve if row.epoch in epochs]
    assert [y for y in done.y if not math.isnan(y)] == pytest.approx(values, rel=1e-6)
    assert [shape.x0 for shape in made.layout.shapes] == [2]  # half of four epochs


def test_many_points_are_drawn_by_the_graphics_card(monkeypatch):
    trials = [trial(n, 0.5) for n in range(3)]
    assert figures.curves(report_data(trials)).data[0].type == "scatter"
    monkeypatch.setattr(figures, "_HEAVY", 11)
    assert figures.curves(report_data(trials)).data[0].type == "scattergl"


def test_an_axis_of_costs_is_logarithmic_where_the_range_is_wide():
    assert "type" not in figures.cost_axis([4e9, 4.2e9])
    assert figures.cost_axis([1e6, 1e8])["type"] == "log"


@pytest.mark.parametrize(("most", "unit"), [(60, "seconds"), (600, "minutes"), (40000, "hours")])
def test_times_have_a_unit_that_reads_easily(most, unit):
    assert figures.time_unit(most)[0] == unit


def test_the_gate_shows_exact_shares(tmp_path):
    _, page = report(report_data([]), tmp_path)
    inside = FeasibleSet(SPACE, BUDGET)
    assert f"{len(inside):,} of {SPACE.size:,} architectures are inside the budget" in page.text
    shown = [f for f in page.figures if "radix" in f["data"][0]["hovertemplate"]]
    counts = inside.spread()["radix"]
    assert shown[0]["data"][1]["text"] == [f"{n:,} of {len(inside):,}" for n in counts.values()]
    assert shown[0]["data"][1]["y"] == pytest.approx([n / len(inside) for n in counts.values()])


# Time


def test_times_are_those_of_the_study(tmp_path):
    record = DurableStudy(tmp_path / "study.db", SPACE, "macs")
    sampler = optuna.samplers.RandomSampler(seed=0)
    for number in range(3):
        begun = record.begin(sampler, {})
        if number < 2:
            record.add_epoch(begun, Epoch(1, 0.5, 1.0, 1.0))
            record.end(begun, Outcome.DONE)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert read_times(tmp_path / "study.db") == {
        t.number: Span(t.datetime_start, t.datetime_complete) for t in study.get_trials()
    }


def test_a_study_without_times_is_refused_in_one_line(tmp_path):
    (tmp_path / "study.db").write_text("no study")
    with pytest.raises(RunError, match=r"study\.db: the times of its trials cannot be read \(.+\)$"):
        read_times(tmp_path / "study.db")
    with pytest.raises(NxtError, match="not a run directory"):
        load_report_data(tmp_path)


# Drawings


def test_stages_are_drawn_as_wide_as_their_channels_and_as_high_as_their_blocks():
    specs = [parse_name("resnext50_32x4d"), parse_name("resnest101")]
    boxes = []
    for spec, drawn in zip(specs, drawing.draw(specs), strict=True):
        picture = ElementTree.fromstring(drawn)
        rects = [r.attrib for r in picture.iter("rect") if r.attrib["class"] == "stage"]
        boxes += [(float(r["width"]), float(r["height"]), p) for r, p in zip(rects, portions(spec)[1:-1], strict=True)]
        text = " ".join(t.text for t in picture.iter("text"))
        for stage, part in zip(spec.stages(), portions(spec)[1:-1], strict=True):
            assert f"{stage.cardinality}x{stage.group_width}d" in text and f"{part.channels} ch, {part.side} px" in text
        assert ("radix 2" in text) == (spec.radix == 2) and spec.name in picture[0].text
        low = max(float(r["y"]) + float(r["height"]) for r in rects)
        assert low <= float(picture.attrib["height"])
    wide, high, first = boxes[0]
    for width, height, part in boxes:
        assert width / wide == pytest.approx(part.channels / first.channels, rel=0.02)
        assert height / high == pytest.approx(part.blocks / first.blocks, rel=0.02)


@pytest.mark.parametrize(("size", "sides"), [(None, [32, 32, 16, 8]), (64, [64, 64, 32, 16])])
def test_drawings_tell_the_sides_at_which_the_run_counts(size, sides):
    data = report_data([trial(0, 0.5)], space=SPACE.counted_at(size, None))
    assert re.findall(r"(\d+) px</text>", drawings(data)) == [str(side) for side in sides]


# Facts


def test_hashes_are_those_of_the_files(tmp_path):
    (tmp_path / "run.yaml").write_text("command: search\n")
    _, page = report(report_data(some(20), path=tmp_path), tmp_path)
    assert hashlib.sha256(b"command: search\n").hexdigest() in page.text and "SHA-256 of study.db" not in page.text
    assert re.search(r"torch \d", page.text) and "2026-03-01 12:00:00 to 2026-03-01" in page.text


def test_failures_are_gathered_by_kind_and_message(tmp_path):
    trials = [trial(n, None, Outcome.OOM, message="too large") for n in range(14)]
    trials += [trial(14, None, Outcome.CRASHED, message="ValueError")]
    _, page = report(report_data(trials), tmp_path)
    assert "15 of 15 trials ended without a verdict" in page.text
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ..." in page.text and "ValueError" in page.text


def test_the_smallest_clear_difference_is_twice_the_error_of_one(tmp_path):
    _, page = report(report_data([trial(0, 0.5), trial(1, 0.4)]), tmp_path)
    assert f"{100 * 2 * math.sqrt(2 * 0.25 / 400):.1f} points (two trained once" in page.text
    assert "not measured (standard deviation" in page.text


def test_a_search_that_was_cut_off_is_not_called_running(tmp_path):
    given = report_data([trial(0, 0.5), trial(1, 0.4, Outcome.RUNNING)])
    assert [trace.name for trace in figures.curves(given).data] == ["done (1)", "cut off (1)"]
    bars = [Bar(each, 0, 0.0, 1.0) for each in given.run.trials]
    for active, label in ((False, "cut off (1)"), (True, "running (1)")):
        assert [trace.name for trace in figures.timeline(bars, active).data] == ["done (1)", label]
    _, page = report(given, tmp_path)
    assert "1 cut off, 1 done" in page.text or "1 done, 1 cut off" in page.text


# Pieces


def test_text_is_escaped_once_and_html_not_at_all():
    assert escape("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"
    assert escape(Html("<b>")) == "<b>" and escape(3) == "3"
    assert "<td>&lt;b&gt;</td>" in table(["a", "b"], [["x", "<b>"]])


def test_the_data_of_a_figure_cannot_end_its_element():
    from plotly import graph_objects

    made = plot(graph_objects.Figure(graph_objects.Scatter(text=[EVIL])), "x")
    assert Page(made).figures[0]["data"][0]["text"] == [EVIL] and made.count("</script>") == 1


# For papers


def test_figures_for_papers_are_png_and_svg(tmp_path):
    files = draw_figures(report_data(some(25)), tmp_path / "new" / "figures")
    assert [file.name for file in files] == [f"{n}{s}" for n in ("front", "errors", "curves") for s in (".png", ".svg")]
    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
                assert image.format == "PNG" and image.width > 800 and len(image.convert("L").getcolors()) > 10
        else:
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
    again = draw_figures(report_data(some(25)), tmp_path / "again")
    assert [a.read_bytes() for a in again] == [b.read_bytes() for b in files]


def test_a_run_without_results_has_no_figures_for_papers(tmp_path):
    assert draw_figures(report_data([]), tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file: cannot be created"):
        draw_figures(report_data(some(25)), tmp_path / "file")
