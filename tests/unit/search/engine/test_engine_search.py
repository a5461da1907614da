"""A search's run directory, without Ray: who may write it, which checkpoints stay, what is copied and when."""

import dataclasses
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import begin, opened, resumed
from tensorboardX.proto.event_pb2 import Event

import nxt
from nxt.arch.load import parse_name
from nxt.config import dump_yaml, parse_settings, read_yaml
from nxt.data.ref import DataRef
from nxt.errors import ArchError, ConfigError, RunError, UsageError
from nxt.search.engine import session as module
from nxt.search.engine.calls import listed
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.request import first_difference, load_record
from nxt.search.results.run import load_run
from nxt.search.strategy.setup import SearchSetup
from nxt.search.study.database import backup_of
from nxt.search.trial import Epoch, Outcome
from nxt.space.budget import parse_budget
from nxt.space.load import load_space

EPOCHS = 2


def request(trials=4, *settings, **changes):
    given = parse_settings([f"proxy.epochs={EPOCHS}", "search.grace=1.0", "search.confirm=0", *settings])
    made = make_request(load_space("smoke"), parse_budget({"flops": "5M:9M"}), "digits", trials, 0, given)
    return dataclasses.replace(made, **changes)


def begun(out, *settings, trials=4, **changes):
    """Return a search whose run directory has been made, as a command does."""
    return begin(request(trials, *settings, **changes), out)


def accuracy(trial):
    return 0.2 + trial.number / 100


def train(session, upto=EPOCHS):
    """Train the next trial with made-up accuracies, with a checkpoint as a worker writes it."""
    trial = session.strategy.suggest()
    session.search.storage.write(f"{trial.number}.pt", b"weights")
    for epoch in range(1, upto + 1):
        session.strategy.observe(trial.number, Epoch(epoch, accuracy(trial), 1.0, 0.5))
    return trial


def checkpoints(out):
    return sorted(path.name for path in (out / "trials").glob("*")) if (out / "trials").exists() else None


def test_only_running_trials_keep_their_checkpoints(tmp_path):
    job = begun(tmp_path / "run")
    with opened(job) as session:
        first, second = train(session), train(session, upto=1)
        assert checkpoints(job.out) == ["0.pt", "1.pt"]
        assert session.tend() == [first]
        assert checkpoints(job.out) == ["1.pt"] and second.outcome is Outcome.RUNNING
    assert checkpoints(job.out) == ["1.pt"]


def test_a_complete_search_leaves_no_checkpoints(tmp_path):
    job = begun(tmp_path / "run")
    with opened(job) as session:
        for _ in range(4):
            train(session)
        assert session.strategy.suggest() is None and session.strategy.complete
    assert checkpoints(job.out) is None


def test_checkpoints_of_all_that_ended_well_are_kept_if_asked_for(tmp_path):
    job = begun(tmp_path / "run", "search.keep=all", trials=3)
    with opened(job) as session:
        for upto in (EPOCHS, EPOCHS, 1):
            trial = train(session, upto)
        session.strategy.fail(trial.number, Outcome.DIVERGED, "nan")
        session.tend()
    assert checkpoints(job.out) == ["0.pt", "1.pt"]
    assert [t.outcome for t in load_run(job.out).trials] == [Outcome.DONE, Outcome.DONE, Outcome.DIVERGED]


@pytest.mark.parametrize("storage", ["", "file://{}/everywhere", "file://{}/everywhere?use_mmap=false"])
def test_checkpoints_of_the_front_are_kept_if_asked_for(tmp_path, storage):
    storage = storage.format(tmp_path)
    job = begun(tmp_path / "run", "search.keep=front", storage=storage)
    with opened(job) as session:
        for _ in range(4):
            train(session)
            session.tend()
        session.strategy.suggest()
    run = load_run(job.out)
    members = {f"{trial.number}.pt" for entry in run.front for trial in entry.trials}
    assert 0 < len(members) < 4 and set(job.storage.names()) == members
    again = resumed(job.out)
    with opened(again):
        assert set(again.storage.names()) == members


def test_resuming_deletes_files_that_a_killed_driver_left(tmp_path):
    job = begun(tmp_path / "run")
    with opened(job) as session:
        train(session), train(session, upto=1)
        session.strategy.ended.clear()  # nobody was told
    for name in ("0.pt", "0.hung", "7.pt", "notes.txt"):
        (job.out / "trials" / name).touch()
    with opened(resumed(job.out)):
        assert checkpoints(job.out) == ["1.pt", "notes.txt"]


def test_two_searches_with_one_storage_have_folders_of_their_own(tmp_path):
    jobs = [begun(tmp_path / name, storage=str(tmp_path / "everywhere")) for name in ("a", "b")]
    places = [read_yaml(job.out / "run.yaml")["storage"] for job in jobs]
    assert places[0] != places[1] and all(place.startswith(f"{tmp_path}/everywhere/") for place in places)
    assert load_record(jobs[0].out).request.storage == places[0]


def test_a_second_search_in_the_same_directory_is_refused_and_changes_nothing(tmp_path):
    job = begun(tmp_path / "run")
    script = (
        "import sys; from pathlib import Path; from nxt.rundir import hold_run_directory\n"
        "with hold_run_directory(Path(sys.argv[1]), 'search', new=False): pass"
    )
    with opened(job) as session:
        train(session)
        before = {path: path.read_bytes() for path in job.out.rglob("*") if path.is_file()}
        done = subprocess.run([sys.executable, "-c", script, str(job.out)], capture_output=True, text=True, check=False)
        assert "another search is writing there" in done.stderr and done.returncode == 1
        assert {path: path.read_bytes() for path in job.out.rglob("*") if path.is_file()} == before
    assert subprocess.run([sys.executable, "-c", script, str(job.out)], check=False).returncode == 0


def test_the_study_is_copied_at_the_start_at_the_end_and_now_and_then(tmp_path, monkeypatch):
    job = begun(tmp_path / "run")
    copy = backup_of(job.out / "study.db")

    def copied():
        saved = copy.read_bytes()
        assert saved.startswith(b"SQLite format 3")
        return saved

    with opened(job) as session:
        states = [copied()]
        train(session)
        session.tend()
        assert copied() == states[0]
        monkeypatch.setattr(module, "_REFRESH", 0.0)
        train(session)
        session.tend()
        states.append(copied())
        assert len(json.loads((job.out / "front.json").read_text())) >= 1
        train(session)
    states.append(copied())
    assert len(set(states)) == 3


def test_the_result_files_follow_the_trials_but_not_too_often(tmp_path, monkeypatch):
    job = begun(tmp_path / "run")

    def listed():
        return (job.out / "trials.csv").read_text().count(",done,")

    with opened(job) as session:
        train(session)
        session.tend()
        assert listed() == 1
        monkeypatch.setattr(module, "_SOON", 1e9)
        session._due = 0.0
        session._write_results()
        train(session)
        session.tend()
        assert listed() == 1  # not due
        monkeypatch.setattr(module, "_SOON", 0.0)
        session._due = 0.0
        train(session)
        session.tend()
        assert listed() == 3


def test_a_number_of_trials_below_those_begun_is_refused(tmp_path):
    job = begun(tmp_path / "run")
    with opened(job) as session:
        train(session), train(session)
    fewer = dataclasses.replace(load_record(job.out).request, trials=1)
    with pytest.raises(ConfigError, match="`trials`: 1, but 2 have begun"), opened(prepare_search(fewer, job.out)):
        pass
    assert load_record(job.out).request.trials == 4


def test_more_trials_and_another_confirmation_are_recorded(tmp_path):
    job = begun(tmp_path / "run")
    old = load_record(job.out).request
    more = dataclasses.replace(old, trials=9, settings=dataclasses.replace(old.settings, confirm=2))
    with opened(prepare_search(more, job.out)):
        pass
    assert load_record(job.out).request == more


@pytest.mark.parametrize("setting", ["proxy.share=0.4", "recipe.lr=0.2"])
def test_a_run_under_other_conditions_is_not_replayed(tmp_path, setting):
    job = begun(tmp_path / "run")
    with opened(job) as session:
        train(session)
    told = f"`replay` {job.out}: its {setting.partition('.')[0]} differs"
    with pytest.raises(RunError, match=told):
        prepare_search(request(4, setting), tmp_path / "new", replay=load_run(job.out))
    other = begun(tmp_path / "other", setting)
    with pytest.raises(RunError, match=told):
        resumed(other.out, replay=load_run(job.out))


def test_a_run_under_the_same_conditions_is_replayed_as_far_as_it_went(tmp_path):
    job = begun(tmp_path / "run")
    with opened(job) as session:
        train(session), train(session), train(session, upto=1)
    again = begin(request(), tmp_path / "again", replay=load_run(job.out))
    with opened(again) as session:
        trial = session.strategy.suggest()
        assert trial.number == 2 and trial.outcome is Outcome.RUNNING and not trial.curve
        replayed = [session.strategy.study.trials[n] for n in (0, 1)]
    assert [(t.outcome, t.replayed, t.accuracy) for t in replayed] == [
        (Outcome.DONE, "run", accuracy(t)) for t in replayed
    ]


def test_data_that_lies_elsewhere_now_is_recorded_and_other_images_are_refused(tmp_path):
    job = begun(tmp_path / "run")
    record = read_yaml(job.out / "run.yaml")
    with opened(job) as session:
        train(session)
    moved = dataclasses.replace(load_record(job.out).request, data=DataRef("cifar10", "/nowhere"))
    again = dataclasses.replace(job, setup=SearchSetup(moved))
    with opened(again):
        assert read_yaml(job.out / "run.yaml")["data"] == "cifar10:/nowhere"
    fewer = {**record, "train_images": record["train_images"] - 1}
    (job.out / "run.yaml").write_text(json.dumps(fewer))
    other = resumed(job.out)
    with pytest.raises(RunError, match="digits is no longer the data of this run: images were added or removed"):
        opened(other).__enter__()


def test_older_records_with_relative_paths_are_of_the_same_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(data):
        return request(data=DataRef.parse(data)).conditions

    assert first_difference(of("folder:mine"), of(f"folder:{tmp_path}/mine")) == ""
    assert first_difference(of("folder:mine"), of(f"folder:{tmp_path}/other")) == "data"


def test_a_run_is_active_as_long_as_a_search_holds_it(tmp_path, capsys):
    from nxt.cli.commands.show import print_run

    job = begun(tmp_path / "run")
    with opened(job) as session:
        train(session, upto=1)
        assert load_run(job.out).active
        print_run(load_run(job.out), as_json=False)
    run = load_run(job.out)
    assert not run.active
    print_run(run, as_json=False)
    first, second = [line for line in capsys.readouterr().out.splitlines() if "trials asked" in line]
    assert first.endswith("4 trials asked, 1 begun; 1 running") and second.endswith("1 begun; 1 cut off")


def scalars(folder):
    """Return the scalars in a folder's event file as {tag: [(step, value)]}."""
    [file] = folder.iterdir()
    data, found = file.read_bytes(), {}
    while data:  # records: length, its CRC, content, its CRC
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, pytest.approx(value.simple_value)))
        data = data[16 + length :]
    return found


def test_curves_of_trials_that_ended_are_there_for_tensorboard_once(tmp_path):
    job = begun(tmp_path / "run", trials=3)
    with opened(job) as session:
        first = train(session)
        session.tend()
        train(session, upto=1)
    folders = {path.name: path for path in (job.out / "tensorboard").iterdir()}
    assert list(folders) == [f"0000_{first.spec.name}"]
    found = scalars(folders.popitem()[1])
    curve = [(row.epoch, row.accuracy) for row in first.curve]
    assert found == {"val/accuracy": curve, "train/loss": [(1, 1.0), (2, 1.0)]}
    shutil.rmtree(job.out / "tensorboard")  # as if a kill had come before
    again = resumed(job.out)
    with opened(again):
        assert len(list((job.out / "tensorboard").iterdir())) == 1


@pytest.mark.parametrize("said", [{"networks": ["resnet50"]}, {"top": 2}, {"repeats": 3}])
def test_train_many_refuses_recorded_arguments_with_resume(said, tmp_path):
    (name,) = said
    with pytest.raises(UsageError, match=f"{name}`? cannot be given with `resume`"):
        nxt.train_many(resume=tmp_path, **said)


@pytest.mark.parametrize("call", [lambda name: nxt.search(archs=name), nxt.train_many], ids=["search", "train_many"])
def test_a_single_network_is_not_taken_for_a_list_of_letters(call):
    with pytest.raises(ArchError, match="'resnet5000'"):
        call("resnet5000")


@pytest.mark.parametrize("network", ["resnet50", Path("resnet50"), parse_name("resnet50")])
def test_one_network_and_a_list_of_one_are_the_same(network):
    assert listed(network) == listed([network]) == (network,)


def test_what_the_largest_class_alone_would_give_is_recorded_and_told(tmp_path):
    from nxt.data.dataset import largest_share

    assert largest_share(np.array([0, 2, 2, 1, 2])) == 0.6
    search = begun(tmp_path / "run")
    expected = largest_share(search.squares().open().val.labels)
    record = load_record(tmp_path / "run")
    assert record.largest_class == expected and 0.1 <= expected < 0.2
    assert record.trained.endswith(f"; always the largest class would give {expected:.1%}")
    older = {key: value for key, value in read_yaml(tmp_path / "run" / "run.yaml").items() if key != "largest_class"}
    (tmp_path / "run" / "run.yaml").write_text(dump_yaml(older))
    assert (
        load_record(tmp_path / "run").largest_class is None and "largest" not in load_record(tmp_path / "run").trained
    )
    (tmp_path / "run" / "run.yaml").write_text(dump_yaml({**older, "largest_class": "all"}))
    with pytest.raises(ConfigError, match="damaged; largest_class is 'all'"):
        load_record(tmp_path / "run")
