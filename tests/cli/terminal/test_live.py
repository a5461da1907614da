"""What a search and a training show while they run: on terminals of all sizes, and elsewhere."""

import dataclasses
import io
import os
import pty
import re
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from limits import LIMIT
from nxt.cli.commands import search
from nxt.cli.terminal import live_region, search_progress, search_view, status_text, tables, textplot
from nxt.cli.terminal.train_progress import TrainProgress, line_of
from rich.console import Console
from runs import opened
from terminals import terminal

import nxt as package
from nxt.errors import UsageError
from nxt.files import locked
from nxt.pareto import front
from nxt.rundir import LOCK
from nxt.search.engine.calls import prepare
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.options import SearchOptions
from nxt.search.results.plain_words import plain_words
from nxt.search.results.status import Status, status_of, tally
from nxt.search.trial import Epoch, Outcome
from nxt.space.budget import parse_budget
from nxt.space.load import load_space
from nxt.train.engine.session import Position
from nxt.train.engine.trainer import EpochReport

SIZES = [(120, 40), (80, 24), (60, 20), (40, 15), (20, 5)]
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
SHOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background, which ignore it
from nxt.cli.terminal import live_region
from rich.text import Text
with live_region.screen(lambda width, height: [Text("x" * 200), Text(f"{width} by {height}")], "gone without a word"):
    print("said meanwhile")
    while not sys.stdin.readline():
        time.sleep(0.1)
"""


def printed(lines, width):
    """Return lines as rich prints them on a terminal without colours, each cut off as in the view."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, no_color=True, highlight=False)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        console.print(line)
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in out.getvalue().splitlines()]


def moment(run, running=None):
    """Return the view of a search in the middle of its trials."""
    trials = run.trials
    one = dataclasses.replace(trials[0], outcome=Outcome.RUNNING, curve=trials[0].curve[:2])
    return search_view.View(
        run=run, running=running or [one], phase="exploring", ended=12, total=20, later=4, gone=132, left=28,
        tally="12 done, 1 running", speed="120 trials an hour, 890 training images a second",
        latest=search_view.trial_text(trials[-1]),
    )  # fmt: skip


# The view


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_view_fits_every_terminal(width, height, longer):
    found = search_view.lines_of(moment(package.load_run(longer)), width, height)
    lines = printed(found, width)
    assert len(lines) == len(found) < height
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("nxt search smoke")


@pytest.mark.parametrize(("width", "height"), [(120, 40), (80, 24), (60, 20)])
def test_with_room_the_view_has_everything(width, height, longer):
    run = package.load_run(longer)
    text = "\n".join(printed(search_view.lines_of(moment(run), width, height), width))
    assert str(run.request.budget) in text
    assert "exploring, 12 of 16 trials (then up to 4 to confirm)" in text and "2m 12s gone, about 28s left" in text
    assert "12 done, 1 running" in text and "120 trials an hour" in text
    assert f"{run.best.accuracy:.1%} \u00b1 {100 * run.error(run.best):.1f}" in text
    assert all(entry.spec.name in text for entry in run.entries[:3])
    assert "epoch 2/4" in text and run.trials[0].spec.name in text
    assert "o front" in text and "\u2514" in text
    assert "trial 11 done" in text


def test_without_room_the_plot_goes_first_then_columns(longer):
    def text(width, height):
        return "\n".join(printed(search_view.lines_of(moment(package.load_run(longer)), width, height), width))

    assert "\u2514" in text(80, 20) and "\u2514" not in text(40, 24) and "\u2514" not in text(80, 15)
    assert "seeds" in text(80, 15) and "seeds" not in text(40, 15)
    small = text(40, 15)
    assert "MACs" not in small and "\u00b1" not in small and "best so far" in small and "about 28s left" in small


def test_many_running_trials_are_counted_not_listed(longer):
    run = package.load_run(longer)
    running = [dataclasses.replace(run.trials[0], outcome=Outcome.RUNNING) for _ in range(40)]
    lines = printed(search_view.lines_of(moment(run, running=running), 80, 24), 80)
    assert sum(line.startswith("epoch") for line in lines) == 3
    assert any("and 37 more" in line for line in lines)


def test_before_the_first_trial_has_ended_there_is_no_plot_and_no_table(longer):
    run = package.load_run(longer)
    started = dataclasses.replace(
        moment(run), run=dataclasses.replace(run, trials=[]), running=[], latest="", speed="", ended=0, total=None,
        left=None, tally="the workers are starting",
    )  # fmt: skip
    assert len(search_view.lines_of(started, 80, 24)) == 3
    assert "exploring, 0 trials  2m 12s gone" in printed(search_view.lines_of(started, 80, 24), 80)[1]


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_only_the_terminals_own_colours_are_used(environment, longer):
    out = io.StringIO()
    system = {"force_terminal": True, "color_system": "truecolor", "_environ": environment}
    Console(file=out, width=80, highlight=False, **system).print(
        *search_view.lines_of(moment(package.load_run(longer)), 80, 24), sep="\n"
    )
    codes = {int(code) for codes in re.findall(r"\x1b\[([0-9;]*)m", out.getvalue()) for code in codes.split(";")}
    assert codes <= {0, 1, 2, *range(30, 38)}
    assert bool(codes & set(range(30, 38))) is not bool(environment)


# The plot


def test_the_plot_shows_every_point_at_its_place():
    costs = [1e6, 2e6, 4e6, 8e6, 16e6]
    accuracies = [0.1, 0.4, 0.2, 0.3, 0.5]
    members = front(list(zip(costs, accuracies, strict=True)))
    points = [
        textplot.Point(c, a, "front" if i in members else "other")
        for i, (c, a) in enumerate(zip(costs, accuracies, strict=True))
    ]
    lines = printed(textplot.front_plot(points, "MACs", 49, 11), 49)  # 41 columns and 9 rows of cells
    cells = {
        (x - 8, 8 - y): mark for y, line in enumerate(lines[:9]) for x, mark in enumerate(line) if mark in "o\u00b7"
    }
    assert cells == {(0, 0): "o", (10, 6): "o", (20, 2): "\u00b7", (30, 4): "\u00b7", (40, 8): "o"}
    assert lines[0].startswith(" 50.0% \u2502") and lines[8].startswith(" 10.0% \u2502o")
    assert lines[-1].strip().startswith("1.00M") and lines[-1].endswith("16.0M")


def test_a_reference_hides_others_in_its_cell_and_equal_values_are_in_the_middle():
    kinds = ("reference", "front", "other")
    lines = printed(textplot.front_plot([textplot.Point(1e6, 0.5, kind) for kind in kinds], "MACs", 49, 7), 49)
    assert [line[8:].strip() for line in lines[:5]] == ["", "", "R", "", ""]
    assert lines[2].index("R") == 8 + 20


# Words


def test_trials_are_counted_by_what_became_of_them(longer):
    trial = package.load_run(longer).trials[0]
    made = [Outcome.DONE] * 3 + [Outcome.RUNNING] + [Outcome.STOPPED] * 3 + [Outcome.OOM, Outcome.CRASHED, Outcome.OOM]
    trials = [dataclasses.replace(trial, outcome=outcome) for outcome in made]
    for index, epochs in ((4, 1), (5, 2), (6, 2)):
        trials[index] = dataclasses.replace(trials[index], curve=trial.curve[:epochs])
    rest = "3 stopped (1 at epoch 1, 2 at epoch 2), 3 failed (2 oom, 1 crashed)"
    assert tally(trials) == f"3 done, 1 running, {rest}"
    assert tally(trials, "cut off") == f"3 done, 1 cut off, {rest}"
    assert tally([]) == "none begun"


def begun(out, trials, ended, observer=None):
    """Make a search of which only some trials have ended, and one runs; have it observed."""
    settings = {"proxy": {"epochs": 2}, "search": {"confirm": 1}}
    request = make_request(load_space("smoke"), parse_budget({"flops": ":1G"}), "digits", trials, 0, settings)
    with opened(prepare_search(request, out), new=True) as session:
        if observer:
            observer.begin(session, 1)
        for number in range(ended):
            trial = session.strategy.suggest()
            for epoch in (1, 2):
                session.strategy.observe(trial.number, Epoch(epoch, 0.5 + number / 100, 1.0, 0.5))
            if observer:
                [trial] = session.tend()
                observer.ended(trial)
        assert session.strategy.suggest() is not None
    return out


def test_a_search_that_was_cut_off_says_how_to_go_on(nxt, tmp_path):
    out = begun(tmp_path / "run", 6, 3)
    result = nxt("show", out)
    assert "6 trials asked, 4 begun; 3 done, 1 cut off" in result.out
    assert "Interrupted while exploring. Go on with: nxt search --resume run\n" in result.out
    assert status_of(package.load_run(out)).state == "interrupted"


def test_a_search_that_runs_says_so_from_another_process(nxt, tmp_path):
    out = begun(tmp_path / "run", 6, 3)
    with locked(out / LOCK):
        result = nxt("show", out)
        found = status_of(package.load_run(out))
    assert "1 running" in result.out
    # One epoch takes half a second: 2 for the one that runs, 2 each for 2 more, then 2 each for 3 times 2 to confirm.
    assert found == Status("running", "exploring", pytest.approx(0.5 * 2 * (1 + 2 + 6)))
    assert "Running: exploring, about 9s left by the epochs so far." in result.out


def test_a_search_that_ended_says_so(confirmed, nxt):
    assert "\nEnded: all that was asked for is done.\n" in nxt("show", confirmed).out
    run, ended = package.load_run(confirmed), Status("ended", "confirming", None)
    assert status_of(run) == ended
    record = dataclasses.replace(run.record, request=dataclasses.replace(run.request, trials=None))
    by_hours = status_text.status_sentence(dataclasses.replace(run, record=record), ended)
    assert by_hours == f"Ended: the hours are over. Go on with: nxt search --resume {confirmed} --hours H"
    early = status_text.status_sentence(dataclasses.replace(run, record=record), Status("interrupted", "confirming", 1))
    assert early.startswith("Ended early, by the hours or a signal, while confirming. Go on with: nxt search --resume")


def test_plain_words_say_whether_anything_was_confirmed(confirmed, searched):
    once, fresh = (
        "It was trained only once, which confirms nothing.",
        "Only one training with a fresh seed counts for it",
    )
    run = package.load_run(confirmed)
    first_round = dataclasses.replace(run, trials=[trial for trial in run.trials if trial.replicate < 2])
    told = {name: plain_words(each) for name, each in {"no": package.load_run(searched), "one": first_round}.items()}
    assert once in told["no"] and fresh not in told["no"]
    assert first_round.best.confirmed and fresh in told["one"] and once not in told["one"]
    both = plain_words(run)
    assert run.best.seeds > 1 and once not in both and fresh not in both


def test_what_was_tried_in_some_hours_is_confirmed_without_more_of_them(searched, tmp_path):
    out = shutil.copytree(searched, tmp_path / "run")
    record = (out / "run.yaml").read_text(encoding="utf-8")
    (out / "run.yaml").write_text(record.replace("\ntrials: 5\n", "\ntrials: null\n"), encoding="utf-8")
    with pytest.raises(UsageError, match="give `hours` again"):
        SearchOptions(resume=out).request()
    for hours, trials in ((None, 5), (1.0, None)):
        options = SearchOptions(resume=out, confirm=2, hours=hours)
        again = prepare(options, options.request()).request
        assert (again.trials, again.settings.confirm) == (trials, 2)


def test_the_hours_that_are_left_are_in_the_command_to_go_on(monkeypatch, tmp_path):
    now = iter((0.0, 0.1 * 3600, 0.3 * 3600))
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=lambda: next(now)))
    again = {"hours": search._HoursLeft(0.25)}
    assert status_text.resume_command(tmp_path, False, **again).endswith(" --hours 0.15")
    assert status_text.resume_command(tmp_path, False, **again).endswith(" --hours H")


# Terminals


def test_a_search_on_a_terminal_is_a_view_and_then_its_summary(tmp_path):
    few = ["--trials", "3", "--workers", "1", "--set", "proxy.epochs=1", "--set", "search.confirm=0"]
    script = "from nxt.cli.main import program; program()"
    command = [sys.executable, "-c", script, "search", "smoke", "--flops", ":6M", *few, "--out", str(tmp_path / "run")]
    with terminal(command) as (process, read):
        text = read()
        assert process.wait(LIMIT) == 0, text
    before, _, rest = text.partition(ENTER)
    during, _, after = rest.rpartition(LEAVE)
    said = ("counting what fits, 0s gone", "reading the data and starting Ray", "drawing the front")
    assert sorted(said, key=text.find) == list(said) and said[-1] in text  # a sign of life at any time
    assert said[1] in before and str(tmp_path / "run") in before
    assert "nxt search smoke" in during and "exploring, 0 of 3 trials" in during
    left = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|drawing the front, \d+s gone", "", after).strip().splitlines()
    begin = next(place for place, line in enumerate(left) if line.startswith("In plain words: "))
    closing = "".join("".join(left[begin:]).split())
    assert left[0].startswith(str(tmp_path)) and any(line.startswith("Train it: nxt train") for line in left)
    assert "3networksinsidemacs" in closing and f"Picture:{tmp_path / 'run'}/front.png.More:nxtreport" in closing
    assert "exploring" not in "".join(left) and max(map(len, left[2 : begin - 1])) <= 80


def test_ctrl_c_is_answered_at_once_and_passed_on(longer):
    heard, progress = [], search_progress.Progress()
    progress._view = moment(package.load_run(longer))
    before = signal.signal(signal.SIGINT, lambda *given: heard.append(given[0]))
    try:
        progress._handle_interrupts()
        progress._handle_interrupts()  # once is enough
        assert "exploring" in "\n".join(printed(progress._draw(80, 24), 80))
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    drawn = "\n".join(printed(progress._draw(80, 24), 80))
    assert heard == [signal.SIGINT] and "stopping; all epochs so far are recorded" in drawn and "left" not in drawn


def test_a_search_that_was_interrupted_goes_on_to_its_end_and_then_has_nothing_to_do(tmp_path, nxt_process):
    few = ["--trials", "6", "--workers", "1", "--set", "proxy.epochs=2", "--set", "search.confirm=0"]
    script = "from nxt.cli.main import program; program()"
    command = [sys.executable, "-c", script, "search", "smoke", "--flops", ":6M", *few, "--out", str(tmp_path / "run")]
    with terminal(command) as (process, read):
        read("epoch 1/2")  # of the first trial: there is much left to interrupt
        os.kill(process.pid, signal.SIGINT)
        after = read().rpartition(LEAVE)[2]
        assert process.wait(LIMIT) == 130
    assert f"Interrupted. Go on with: nxt search --resume {tmp_path / 'run'} --workers 1" in after.replace("\n", "")
    begun = package.load_run(tmp_path / "run").trials
    done = nxt_process("search", "--resume", tmp_path / "run")
    assert done.code == 0 and f"going on: {tally(begun, 'cut off')}\n" in done.err
    again = nxt_process("search", "--resume", tmp_path / "run")  # says nothing of a space: Ray has not been started
    assert again.err == "All that was asked for was done already; --trials N explores more.\n"
    assert (again.code, again.out) == (0, done.out)


def test_elsewhere_a_search_is_plain_lines(tmp_path, capsys):
    out = begun(tmp_path / "run", 4, 2, search_progress.Progress())
    lines = capsys.readouterr().err.splitlines()
    assert (
        lines[0] == "space smoke: 96 of 96 architectures fit, macs <= 1.000G (conv + linear MACs at 32 px, 10 classes)"
    )
    assert lines[1] == f"4 trials of up to 2 epochs, accuracy against macs, 1 at a time, into {out}"
    for number, line in enumerate(lines[2:]):
        head = rf"\[{number + 1}/10, about \d+s left\] trial {number} done 5{number}\.0%"
        assert re.fullmatch(rf"{head}: resnext_\S+ \(.* reference\)", line), line
    assert len(lines) == 4


def test_elsewhere_decoding_is_a_line_every_ten_seconds_and_one_at_its_end(capsys):
    progress = search_progress.Progress()
    progress.note("images are decoded on c whenever they are read (no room)")
    progress.reading(1_000, 3_000)
    assert capsys.readouterr().err == "note: images are decoded on c whenever they are read (no room)\n"
    progress._refreshed -= search_progress._READING
    progress.reading(2_000, 3_000)
    progress.reading(2_500, 3_000)
    progress.reading(3_000, 3_000)
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d+s", "Ns", line) for line in lines] == [
        "decoding images, 2,000 of 3,000, Ns gone",
        "decoding images, 3,000 of 3,000, Ns gone",
    ]
    assert progress._reads == "decoding images, 3,000 of 3,000"


@pytest.mark.parametrize(("term", "expected"), [("xterm", True), ("dumb", False)])
def test_only_a_terminal_that_can_redraw_is_drawn_on(term, expected, monkeypatch):
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with os.fdopen(theirs, "w") as file:
        assert live_region.moves(Console(file=file)) is expected
    assert not live_region.moves(Console(file=io.StringIO()))
    os.close(ours)


def test_a_screen_of_another_size_is_filled_anew_and_what_was_printed_comes_after():
    with terminal([sys.executable, "-c", SHOW]) as (process, read):
        read("80 by 24")
        process.resize(50, 10)
        text = read("50 by 10")
        frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", text.rpartition("\x1b[H")[2])
        assert max(map(len, frame.splitlines())) <= 50 and frame.strip().startswith("xxx")
        assert "said meanwhile" not in text
        os.kill(process.pid, signal.SIGINT)
        after = read().rpartition(LEAVE)[2]
    assert "said meanwhile\n" in after and "gone without" not in after


def test_a_killed_process_leaves_the_terminal_as_it_was_and_a_word():
    with terminal([sys.executable, "-c", SHOW]) as (process, read):
        read("80 by 24")
        process.kill()
        after = read("gone without a word\r\n").rpartition(LEAVE)[2]
    assert after == "\x1b[?25hgone without a word\n"


# Trainings


def report_of(epoch, **changes):
    given = {"loss": 1.5, "accuracy": 0.5, "ema_accuracy": None, "lr": 0.1, "seconds": 1.0, "wait": 0.0}
    return EpochReport(epoch=epoch, images_per_second=100.0, **given | changes)


@pytest.mark.parametrize("width", [120, 80, 60, 40, 20])
def test_a_training_is_one_line_that_fits(width):
    position = Position(epoch=2, step=30, steps=100, epochs=10, batch=32, total=1000)
    report = report_of(2, loss=1.234, accuracy=0.875, ema_accuracy=0.9, wait=0.12)
    [line] = printed([line_of(position, report, 1234.0, "12m 30s", width)], width)
    assert len(line) <= width and line.startswith("epoch 3/10")
    parts = ["23%", "loss 1.234", "val 90.0%", "1,234 images/s", "waits 12%", "12m 30s left"]
    assert [part in line for part in parts].count(True) >= {120: 6, 80: 6, 60: 4, 40: 2, 20: 0}[width]


def test_a_training_tells_nothing_it_does_not_know():
    position = Position(epoch=0, step=0, steps=100, epochs=10, batch=32, total=1000)
    line = line_of(position, None, 0.0, "", 80).plain
    assert line.startswith("epoch 1/10") and "loss" not in line and "val" not in line and "waits" not in line


def test_on_a_terminal_the_epochs_of_a_training_stay(tmp_path):
    script = "from nxt.cli.main import program; program()"
    small = ["--size", "8", "--epochs", "3", "--set", "warmup=0", "--device", "cpu", "--tune", "off"]
    network = "resnext_1-1-1_w8_1x8d_cifar"
    command = [sys.executable, "-c", script, "train", network, *small, "--out", str(tmp_path / "run")]
    with terminal(command) as (process, read):
        text = read()
        assert process.wait(LIMIT) == 0, text
    kept = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    waited = r"(, \d+% of the time waiting for\s+images)?"  # told on a busy machine
    for epoch in (1, 2, 3):
        line = rf"epoch {epoch}/3  loss \d\.\d+  val \d+\.\d%  \d+ images/s{waited} *\n"
        assert len(re.findall(line, kept)) == 1, kept


def test_a_training_that_goes_on_says_from_where(capsys):
    with TrainProgress() as progress:
        progress.begin(Position(epoch=2, step=30, steps=100, epochs=10, batch=32, total=1000))
    with TrainProgress() as progress:
        progress.begin(Position(epoch=2, step=0, steps=100, epochs=10, batch=32, total=1000))
    with TrainProgress() as progress:
        progress.begin(Position(epoch=0, step=0, steps=100, epochs=10, batch=32, total=1000))
    with TrainProgress() as progress:
        progress.begin(Position(epoch=2, step=100, steps=100, epochs=10, batch=32, total=1000))
    lines = ["going on in epoch 3, after step 30 of 100", "going on after epoch 2"]
    lines.append("going on with the evaluation of epoch 3")
    assert capsys.readouterr().err.splitlines() == lines


def test_elsewhere_a_training_is_a_line_an_epoch(capsys):
    with TrainProgress() as progress:
        progress.begin(Position(0, 0, 10, 2, 32, 20))
        for epoch in (1, 2):
            progress.step(Position(epoch - 1, 5, 10, 2, 32, 20))
            progress.epoch(report_of(epoch, wait=0.5))
    lines = capsys.readouterr().err.splitlines()
    start = "epoch {}/2  loss 1.500  val 50.0%  100 images/s, 50% of the time waiting for images  about 0s left"
    assert lines == [start.format(1), start.format(2)]


def test_an_epoch_that_was_only_evaluated_here_has_no_speed(capsys):
    with TrainProgress() as progress:
        progress.begin(Position(0, 10, 10, 1, 32, 10))
        progress.epoch(dataclasses.replace(report_of(1), images_per_second=0.0))
    assert capsys.readouterr().err.splitlines()[-1] == "epoch 1/1  loss 1.500  val 50.0%"


# Tables


def test_columns_are_left_out_in_their_order_until_a_table_fits():
    columns, rows = ["name", "a", "b"], [["x" * 10, "12345", "6"], ["y", "1", "2"]]
    assert tables.fitting(columns, rows, 22, ["a", "b"]) == (columns, rows)  # 10 + 5 + 1 and two gaps of 3
    assert tables.fitting(columns, rows, 21, ["a", "b"]) == (["name", "b"], [["x" * 10, "6"], ["y", "2"]])
    assert tables.fitting(columns, rows, 5, ["a", "b"])[0] == ["name"]


def test_where_another_epoch_was_better_its_checkpoint_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status_text.how_to_test(Path("a b"), 3, 3) == "Test it: nxt eval 'a b'"
    other = status_text.how_to_test(Path("run"), 3, 2)
    assert other == "Test it: nxt eval run, or its best epoch: nxt eval run/checkpoints/best.pt"
