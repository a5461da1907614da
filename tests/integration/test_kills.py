"""Searches whose driver or workers are killed with SIGKILL at random moments, and gone on with each time.

In the end there are exactly the trials that were asked for, none lost, none twice, no process left behind; and every
training gave the same figures, epoch by epoch, as in a search that nothing disturbed.
"""

import random
import signal
import time
from collections import Counter
from os import kill

import pytest
from jobs import Job, facts

from nxt.errors import NxtError
from nxt.search.results.run import load_run
from nxt.search.trial import Outcome

CONFIRM, SEEDS = 1, 2


def search(out, seed, trials, epochs):
    settings = {
        "proxy.epochs": epochs, "proxy.share": 0.5, "search.scheduler": "asha", "search.grace": 0.4,
        "search.eta": 2, "search.control": 0.3,
        "search.retries": 50, "search.confirm_seeds": SEEDS,
    }  # fmt: skip
    given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["smoke", "--flops", "5M:9M", "--trials", trials, "--confirm", CONFIRM, "--seed", seed, "--workers", 2,
            "--out", out, *given]  # fmt: skip


def killed_again_and_again(out, victims, seed, trials, epochs):
    """Run a search to its end through kills of "driver", "worker" or "either"; return what was killed, and the run
    after each kill."""
    rng, done, seen, victims = random.Random(seed), Counter(), [], list(victims)
    while True:
        begun = (out / "run.yaml").exists()
        command = ["--resume", out, "--workers", 2] if begun else search(out, seed, trials, epochs)
        with Job(out, *command) as job:
            while victims and job.process.poll() is None:
                victim = at_a_random_moment(rng, job, victims.pop(0))
                if job.process.poll() is not None:
                    continue  # it has ended
                kill(victim, signal.SIGKILL)
                done["driver" if victim == job.process.pid else "worker"] += 1
                if victim == job.process.pid:  # the driver alone: the others have to see for themselves
                    assert job.ended()[0] == -signal.SIGKILL
                    assert not job.left()
                    break
            else:
                assert job.ended()[0] == 0, job.text()
                return done, [*seen, facts(load_run(out))]
        try:
            seen.append(facts(load_run(out)))
        except NxtError:
            assert not seen  # killed before it had begun


def at_a_random_moment(rng, job, victim):
    """Wait, and return the process to kill; for "either" one time in four from the very start of the search on."""
    longest = 2
    if victim == "either":
        early = rng.random() < 0.25
        longest = 10 if early else 5
        victim = "driver" if early or rng.random() < 0.5 else "worker"
    else:
        early = False
    while not early and not job.workers() and job.process.poll() is None:
        time.sleep(0.05)
    moment = time.monotonic() + rng.uniform(0, longest)
    while job.process.poll() is None:
        workers = job.workers()
        if time.monotonic() >= moment and (workers or victim == "driver"):
            return job.process.pid if victim == "driver" else rng.choice(workers)
        time.sleep(0.02)
    return job.process.pid


def check(out, seen, trials, epochs):
    run = load_run(out)
    explored, again = [t for t in run.trials if not t.replicate], [t for t in run.trials if t.replicate]
    assert len(explored) == trials == len({t.spec.fingerprint for t in explored})
    assert len({(t.spec.fingerprint, t.replicate) for t in again}) == len(again) >= SEEDS
    assert run.count(Outcome.DONE) + run.count(Outcome.STOPPED) == len(run.trials)
    assert all([r.epoch for r in t.curve] == list(range(1, len(t.curve) + 1)) for t in run.trials)
    assert all(len(t.curve) == epochs for t in run.trials if t.outcome is Outcome.DONE)
    final = facts(run)
    for earlier in seen:
        for number, fact in earlier.items():
            assert fact[:3] == final[number][:3] and fact[-1] == final[number][-1][: len(fact[-1])]
            assert fact[3] is Outcome.RUNNING or fact == final[number]
    return run


def undisturbed(out, run):
    """Return the curves of the same trainings in one go: by network and repeat."""
    archs = [part for t in run.trials for part in ("--arch", run.path / "archs" / f"{t.spec.fingerprint}.yaml")]
    (run.path / "archs").mkdir()
    for t in run.trials:
        (run.path / "archs" / f"{t.spec.fingerprint}.yaml").write_text(t.spec.to_yaml())
    settings = ["--set", f"proxy.epochs={run.request.proxy.epochs}", "--set", "proxy.share=0.5"]
    given = ["--repeats", SEEDS, "--seed", run.request.seed, "--workers", 2, "--out", out, *settings]
    with Job(out, *archs, *given) as job:
        assert job.ended()[0] == 0, job.text()
    return {(t.spec.fingerprint, t.replicate): [r.accuracy for r in t.curve] for t in load_run(out).trials}


def test_a_search_whose_driver_and_a_worker_are_killed_ends_as_if_nothing_had_happened(tmp_path):
    killed, seen = killed_again_and_again(tmp_path / "run", ["worker", "driver"], seed=1, trials=6, epochs=10)
    assert killed == {"driver": 1, "worker": 1}
    check(tmp_path / "run", seen, trials=6, epochs=10)


@pytest.mark.slow
@pytest.mark.timeout(18000)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_search_killed_twenty_times_ends_as_if_nothing_had_happened(tmp_path, seed):
    killed, seen = killed_again_and_again(tmp_path / "run", ["either"] * 20, seed, trials=24, epochs=14)
    run = check(tmp_path / "run", seen, trials=24, epochs=14)
    assert sum(killed.values()) == 20 and min(killed.values()) >= 4
    alone = undisturbed(tmp_path / "list", run)
    again = {(t.spec.fingerprint, t.replicate): [r.accuracy for r in t.curve] for t in run.trials if t.replicate}
    assert again and all(alone[key] == curve for key, curve in again.items())
