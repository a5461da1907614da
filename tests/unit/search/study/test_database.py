"""The study's database: damaged, cut off, full, read-only; and its copy."""

import contextlib
import math
import shutil
import sqlite3
import subprocess
import sys

import optuna
import pytest
import sqlalchemy

from nxt.errors import RunError
from nxt.search.strategy.sampler import PointSampler
from nxt.search.study.database import DurableStudy, backup_of, read_trials
from nxt.search.trial import Epoch, Outcome
from nxt.space.arch_list import load_list

LIST = load_list(["resnet26", "resnet50", "resnet101", "resnet152", "resnet200", "resnet269"])
ENDED = 4  # trials that have ended, one of them badly; one more is running


@contextlib.contextmanager
def listening(event, target, *statements):
    """Run statements on every connection to a database."""

    def relax(connection, *_):
        for statement in statements:
            connection.execute(statement)

    sqlalchemy.event.listen(target, event, relax)
    try:
        yield
    finally:
        sqlalchemy.event.remove(target, event, relax)


@pytest.fixture(autouse=True)
def quick_databases():
    """Do without waiting for the disk: no test here cuts the power."""
    with listening("connect", sqlalchemy.engine.Engine, "pragma synchronous = off"):
        yield


def begin(record, index):
    return record.begin(PointSampler(LIST.axis_names, (index,)), {}, 1)


def train(record, index):
    trial = begin(record, index)
    record.add_epoch(trial, Epoch(1, 0.25, 2.0, 0.5))
    record.add_epoch(trial, Epoch(2, 0.5, 1.0, 0.5))
    record.end(trial, Outcome.DONE)
    return trial


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole study and its copy."""
    path = tmp_path_factory.mktemp("made") / "study.db"
    record = DurableStudy(path, LIST, "macs")
    for index in range(ENDED - 1):
        train(record, index)
    record.end(begin(record, ENDED - 1), Outcome.CRASHED, "OSError")
    record.add_epoch(begin(record, ENDED), Epoch(1, 0.125, 2.0, 0.5))
    record.back_up()
    return path


@pytest.fixture
def path(made, tmp_path):
    """A whole study without a copy, in a folder of its own."""
    return shutil.copy(made, tmp_path / "study.db")


def facts(trials):
    return [(t.number, t.point, t.spec, t.replicate, t.outcome, t.message, tuple(t.curve)) for t in trials]


def refused(path):
    """Return what opening and reading a study say, both one line; see that they leave the file alone."""
    before, messages = path.read_bytes(), []
    for attempt in (lambda: DurableStudy(path, LIST, "macs"), lambda: read_trials(path, LIST)):
        with pytest.raises(RunError) as caught:
            attempt()
        assert path.read_bytes() == before
        text = str(caught.value)
        assert text.startswith(f"{path}: the study ") and len(text.splitlines()) == 1
        messages.append(text)
    return messages


def overwritten(content):
    """Lose four pages in the middle: with them go tables and indexes that everything needs."""
    middle = len(content) // 2 // 4096 * 4096
    return content[:4096] + b"\xff" * 4096 * 3 + content[4 * 4096 : middle] + b"\xaa" * 8192 + content[middle + 8192 :]


DAMAGE = {
    "overwritten": overwritten,
    "truncated": lambda content: content[: len(content) // 2],
    "truncated within a page": lambda content: content[: len(content) // 2 + 1000],
    "only a head": lambda content: content[:100],
    "random": lambda content: bytes(range(7, 247)) * 200,
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "no page size": lambda content: content[:16] + b"\x07" * 84 + content[100:],
}


class Killed(BaseException):
    pass


def test_a_study_that_is_being_made_is_not_there_yet_and_is_made_anew_after_a_kill(tmp_path, monkeypatch):
    path, make = tmp_path / "study.db", optuna.create_study

    def looked_at_and_killed(**given):
        for step in (lambda: make(**given), lambda: None):
            with pytest.raises(RunError, match="no such study; has the search begun"):
                read_trials(path, LIST)
            step()
        raise Killed

    monkeypatch.setattr(optuna, "create_study", looked_at_and_killed)
    with pytest.raises(Killed):
        DurableStudy(path, LIST, "macs")
    monkeypatch.undo()
    record = DurableStudy(path, LIST, "macs")
    assert train(record, 0).number == 0 and len(read_trials(path, LIST)) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["study.db"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_study_without_a_copy_is_one_sentence_and_left_as_it_was(path, damage):
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    for text in refused(path):
        assert "it was left as it is, and there is no copy of it" in text
    assert not backup_of(path).exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_study_with_a_copy_is_gone_on_with_from_that(made, path, damage):
    shutil.copy(backup_of(made), backup_of(path))
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    for text in refused(path):
        assert f"study.db.bak is whole and has {ENDED} ended trial(s)" in text
        assert "copy study.db.bak to study.db" in text
    assert backup_of(path).read_bytes() == backup_of(made).read_bytes()
    path.rename(path.with_name("aside"))
    shutil.copy(backup_of(path), path)
    record = DurableStudy(path, LIST, "macs")
    assert facts(record.trials.values()) == facts(read_trials(made, LIST))
    assert train(record, ENDED + 1).number == ENDED + 1


def test_a_study_that_is_missing_or_of_something_else_is_a_run_error(tmp_path):
    path = tmp_path / "study.db"
    with pytest.raises(RunError, match="no such study; has the search begun"):
        read_trials(path, LIST)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("create table x (y)")
    assert "cannot be opened" in refused(path)[0]
    with pytest.raises(RunError, match="cannot be opened"):
        DurableStudy(tmp_path / "no" / "study.db", LIST, "macs")
    path.unlink()
    path.symlink_to(path)
    for opened in (lambda: read_trials(path, LIST), lambda: DurableStudy(path, LIST, "macs")):
        with pytest.raises(RunError, match=r"the study cannot be read \(Too many levels of symbolic links\)"):
            opened()


def test_a_damaged_copy_is_not_recommended(made, path):
    for damage in (overwritten, lambda content: content[:5000], lambda _: b"", lambda _: b"x" * 5000):
        backup_of(path).write_bytes(damage(made.read_bytes()))
        path.write_bytes(made.read_bytes()[:8000])
        for text in refused(path):
            assert "is whole" not in text and "it was left as it is" in text


@pytest.mark.parametrize("name", ["4.1G+-2%-digits", "a b", "run #2", "100%25", "why?", "a&b=c;d", "größe"])
def test_a_study_and_its_copy_are_found_whatever_the_folder_is_called(made, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    path = shutil.copy(made, folder / "study.db")
    assert facts(read_trials(path, LIST)) == facts(read_trials(made, LIST))
    shutil.copy(backup_of(made), backup_of(path))
    path.write_bytes(b"")
    assert all("study.db.bak is whole" in text for text in refused(path))


FLIPS = {
    "a key of an epoch": (b'"accuracy": 0.25', b'"accuracx": 0.25', 1),
    "a key of an axis": (b'"high": 5', b'"High": 5', 1),
    "a direction": (b"MAXIMIZE", b"MA\x18IMIZE", 1),
    "a state": (b"COMPLETE", b"COMPLETF", 1),
    "a value": (b'"accuracy": 0.25', b'"accuracy": \xff.25', 1),
    "an outcome": (b'"crashed"', b'"crasheb"', -1),
    "a table's name": (b"CREATE TABLE trial_params", b"CREATE TABLE trial_p\xfframs", 1),
}


@pytest.mark.parametrize("flip", FLIPS)
def test_a_single_damaged_byte_is_one_sentence_too(path, flip):
    old, new, times = FLIPS[flip]
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, times))
    for text in refused_or_read(path):
        assert text.startswith(f"{path}: the study ") and len(text.splitlines()) == 1


def refused_or_read(path):
    """Return what opening and reading say. A byte may also be one of no consequence for one of them."""
    messages, content = [], path.read_bytes()
    for attempt in (lambda: DurableStudy(path, LIST, "macs"), lambda: read_trials(path, LIST)):
        path.write_bytes(content)
        try:
            attempt()
        except RunError as error:
            messages.append(str(error))
    return messages


def test_the_copy_is_the_study(made):
    assert facts(read_trials(backup_of(made), LIST)) == facts(read_trials(made, LIST))
    assert [p.name for p in sorted(made.parent.iterdir())] == ["study.db", "study.db.bak"]


def test_a_copy_replaces_the_one_before(path):
    record = DurableStudy(path, LIST, "macs")
    backup_of(path).write_bytes(b"old")
    path.with_name("study.db.tmp").write_bytes(b"left by a kill")
    record.back_up()
    train(record, ENDED + 1)
    assert len(read_trials(backup_of(path), LIST)) == ENDED + 1
    record.back_up()
    assert facts(read_trials(backup_of(path), LIST)) == facts(record.trials.values())


WRITER = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("pragma cache_size = 1")
connection.execute("pragma synchronous = off")
connection.execute("begin immediate")
connection.execute("update trial_user_attributes set value_json = '\\"gone\\"'")
connection.execute("create table filler as select randomblob(200000)")
os._exit(9)
"""


def test_a_copy_is_whole_also_where_a_killed_writer_left_its_journal(made, path):
    record = DurableStudy(path, LIST, "macs")
    known = facts(record.trials.values())
    assert subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False).returncode == 9
    assert path.with_name("study.db-journal").stat().st_size > 0
    assert b"gone" in path.read_bytes()  # the transaction had reached the file
    record.back_up()
    assert facts(read_trials(backup_of(path), LIST)) == known
    with contextlib.closing(sqlite3.connect(backup_of(path))) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert not path.with_name("study.db-journal").exists()


def test_a_study_whose_writer_was_killed_within_a_transaction_is_as_before_it(made, path):
    known = facts(read_trials(path, LIST))
    subprocess.run([sys.executable, "-c", WRITER, str(path)], check=False)
    assert facts(DurableStudy(path, LIST, "macs").trials.values()) == known


def test_a_copy_is_whole_also_while_a_transaction_is_open(path):
    record = DurableStudy(path, LIST, "macs")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("begin immediate")
        writer.execute("update trial_user_attributes set value_json = '1'")
        assert path.with_name("study.db-journal").exists()
        record.back_up()
        writer.execute("rollback")
    assert facts(read_trials(backup_of(path), LIST)) == facts(record.trials.values())


def test_a_copy_that_cannot_be_made_is_one_sentence_and_leaves_the_old_one(path):
    record = DurableStudy(path, LIST, "macs")
    backup_of(path).write_bytes(b"old")
    path.with_name("study.db.tmp").mkdir()
    with pytest.raises(RunError, match=r"study\.db: the study cannot be copied \(") as caught:
        record.back_up()
    assert len(str(caught.value).splitlines()) == 1
    assert backup_of(path).read_bytes() == b"old"


def fill(record):
    """Write until it fails."""
    for index in [ENDED + 1, 5] * 100:
        train(record, index)


@pytest.mark.parametrize(
    ("statement", "why"),
    [("pragma max_page_count = 1", "full"), ("pragma query_only = on", "readonly")],
)
@pytest.mark.parametrize("already_open", [False, True])
def test_a_study_that_cannot_be_written_is_one_sentence_and_its_trials_stay_readable(
    path, statement, why, already_open
):
    known = facts(read_trials(path, LIST))
    record = DurableStudy(path, LIST, "macs") if already_open else None
    with listening("checkout", sqlalchemy.pool.Pool, statement):
        with pytest.raises(RunError) as caught:
            fill(record or DurableStudy(path, LIST, "macs"))
        text = str(caught.value)
        assert text.startswith(f"{path}: the study cannot be ") and len(text.splitlines()) == 1
        assert why in text and "what was recorded before is safe" in text and "`resume`" in text
        assert facts(read_trials(path, LIST))[: len(known)] == known
    assert facts(read_trials(path, LIST))[: len(known)] == known
    again = DurableStudy(path, LIST, "macs")
    assert facts(again.trials.values())[: len(known)] == known
    assert train(again, 5).outcome is Outcome.DONE


@pytest.mark.parametrize("method", ["begin", "add_epoch", "note", "end"])
def test_every_way_of_writing_says_so(path, method):
    record = DurableStudy(path, LIST, "macs")
    running = record.trials[ENDED]
    write = {
        "begin": lambda: begin(record, ENDED + 1),
        "add_epoch": lambda: record.add_epoch(running, Epoch(2, 0.5, 1.0, 0.5)),
        "note": lambda: record.note(running, remark="x"),
        "end": lambda: record.end(running, Outcome.CRASHED, "why"),
    }[method]
    with (
        listening("checkout", sqlalchemy.pool.Pool, "pragma query_only = on"),
        pytest.raises(RunError, match=r"the study cannot be written \(attempt to write a readonly database\)"),
    ):
        write()
    assert len(read_trials(path, LIST)) == ENDED + 1


def test_what_is_noted_of_a_trial_is_read_again(path):
    record = DurableStudy(path, LIST, "macs")
    facts_ = {"control_rung": 3, "remark": "out of the ordinary", "replayed": "elsewhere"}
    record.note(record.trials[ENDED], **facts_)
    [trial] = [t for t in read_trials(path, LIST) if t.number == ENDED]
    assert {key: getattr(trial, key) for key in facts_} == facts_ and trial.replicate == 1


def shown(record):
    """Return what samplers are shown: state, parameters and values of each trial."""
    return [(row.state, row.params, row.values) for row in record._view.get_trials()]


def test_samplers_are_told_the_logarithm_of_the_cost_also_after_a_restart(path):
    record = DurableStudy(path, LIST, "macs")
    done = record.trials[0]
    assert shown(record)[0][2] == [0.5, pytest.approx(math.log(done.cost.macs))]
    trial = train(record, ENDED + 1)
    assert shown(record)[-1][2] == [0.5, pytest.approx(math.log(trial.cost.macs))]
    assert shown(DurableStudy(path, LIST, "macs")) == shown(record)
    query = "select value from trial_values v join trials t using (trial_id) where number = 0 and objective = 1"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute(query).fetchall() == [(done.cost.macs,)]
