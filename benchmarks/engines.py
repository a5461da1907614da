"""Other engines in simulated searches: each as its user would run it, on the networks of a table.

An engine is a function that calls an objective with points (positions on the table's axes) until that raises `Spent`.
It gets log MACs as the second outcome, though they are known beforehand, since none of these takes a known outcome. A
network that was trained before costs nothing and has the same outcome again; a combination of axis values that is not
in the table costs nothing either, and is told as infeasible in the engine's own way.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from nxt.search.simulation.simulate import Found, Simulation
from nxt.search.simulation.table import Table
from nxt.search.strategy.schedulers import rungs
from nxt.space.space import Point

PATIENCE = 100  # so many proposals in a row that train nothing end a search
START = 10  # networks drawn before a model is fitted, as in nxt
ETA, GRACE = 3.0, 0.5  # of schedulers, as in nxt

Outcomes = tuple[float, float]  # accuracy in 0..1 and log MACs


class Spent(Exception):  # noqa: N818 - it ends a search and is no error
    """The epochs or seconds are spent, nothing is left to train, or the engine proposes nothing new."""


class Objective:
    """Trains what an engine proposes, as a user's objective would, on the account of a simulation.

    Args:
        table: The networks.
        epochs: Limit on the epochs of all trainings together.
        seconds: Limit on the seconds of all trainings together, which run one after another.
    """

    def __init__(self, table: Table, epochs: float, seconds: float = math.inf) -> None:
        self.table, self.epochs, self.seconds = table, epochs, seconds
        self.sizes = dict(zip(table.axis_names, (len(values) for values in table.axis_values), strict=True))
        self.result = Simulation()
        self.known: dict[Point, Outcomes] = {}
        self.proposals = 0
        self._in_vain = 0  # proposals since the latest training

    def __call__(self, point: Sequence[int], stops: Callable[[int, Outcomes], bool] | None = None) -> Outcomes | None:
        """Returns the outcomes at a point, or None if the table has no network there.

        Args:
            point: Positions on the axes.
            stops: Is told each epoch of a new training with its outcomes, and returns whether to stop the training.

        Raises:
            Spent: if the search must end.
        """
        point = tuple(int(position) for position in point)
        self.proposals += 1
        if point in self.known or point not in self.table:
            self._in_vain += 1
            if self._in_vain >= PATIENCE:
                raise Spent
            return self.known.get(point)
        self._in_vain = 0
        self.known[point] = self._train(point, stops)
        if self._over() or len(self.known) == len(self.table):
            raise Spent
        return self.known[point]

    @property
    def means(self) -> Outcomes:
        """The mean outcomes so far, for engines that want a value where there is none."""
        return self._over_known(np.mean)

    @property
    def worst(self) -> Outcomes:
        """The lowest accuracy and the highest log MACs so far, likewise."""
        return self._over_known(np.min)[0], self._over_known(np.max)[1]

    def _over_known(self, function: Callable[..., Any]) -> Outcomes:
        accuracy, log_macs = function([*self.known.values()] or [(0.0, 0.0)], axis=0)
        return float(accuracy), float(log_macs)

    def _over(self) -> bool:
        return self.result.epochs >= self.epochs or self.result.clock >= self.seconds

    def _train(self, point: Point, stops: Callable[[int, Outcomes], bool] | None) -> Outcomes:
        row, result = self.table.rows[point], self.result
        result.trials += 1
        for epoch, accuracy in enumerate(row.curve, 1):
            if self._over():
                raise Spent
            result.epochs += 1
            result.clock += row.seconds
            outcomes = float(accuracy), math.log(row.macs)
            if epoch == self.table.epochs:
                result.found.append(Found(point, result.epochs, result.clock))
            if stops is not None and stops(epoch, outcomes) and epoch < self.table.epochs:
                result.stopped += 1
                break
        return outcomes


def optuna_with(sampler: str, objective: Objective, seed: int, **options: Any) -> None:
    """A sampler of Optuna; missing networks are infeasible by a constraint, with the mean of the outcomes so far."""
    import optuna

    def evaluate(trial: optuna.Trial) -> Outcomes:
        outcomes = objective([trial.suggest_int(name, 0, size - 1) for name, size in objective.sizes.items()])
        trial.set_constraint("missing", 0.5 if outcomes is None else -0.5)
        return outcomes or objective.means

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = getattr(optuna.samplers, sampler)(seed=seed, **options)
    optuna.create_study(directions=["maximize", "minimize"], sampler=made).optimize(evaluate)


def botorch_qlognehvi(objective: Objective, seed: int) -> None:
    """BoTorch's qLogNEHVI over a list of the networks that are not yet trained: it proposes nothing that is missing."""
    import torch
    from botorch import fit_gpytorch_mll
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.models import ModelListGP, SingleTaskGP
    from botorch.models.transforms import Normalize
    from botorch.optim import optimize_acqf_discrete
    from botorch.sampling import SobolQMCNormalSampler
    from botorch.utils.multi_objective import infer_reference_point, is_non_dominated
    from gpytorch.mlls import SumMarginalLogLikelihood

    torch.manual_seed(seed)
    points = [*objective.table.rows]
    for index in np.random.default_rng(seed).permutation(len(points))[:START]:
        objective(points[index])
    bounds = torch.tensor([[0.0] * len(objective.sizes), [max(n - 1, 1) for n in objective.sizes.values()]]).double()
    while True:
        x = torch.tensor([*objective.known]).double()
        y = torch.tensor([*objective.known.values()]).double() * torch.tensor([1.0, -1.0])
        positions = Normalize(len(objective.sizes), bounds=bounds)
        model = ModelListGP(*(SingleTaskGP(x, y[:, i, None], input_transform=positions) for i in (0, 1)))
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        sampler = SobolQMCNormalSampler(torch.Size([128]), seed=seed)
        reference = infer_reference_point(y[is_non_dominated(y)], scale=0.1)
        acquisition = qLogNoisyExpectedHypervolumeImprovement(model, reference, x, sampler, prune_baseline=True)
        choices = torch.tensor([point for point in points if point not in objective.known]).double()
        best, _ = optimize_acqf_discrete(acquisition, q=1, choices=choices, max_batch_size=128)
        objective(best[0].long().tolist())


def pymoo_nsga2(objective: Objective, seed: int) -> None:
    """NSGA-II of pymoo, with its operators for integers and nxt's population; missing ones violate a constraint."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Problem(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            highest = np.array([*objective.sizes.values()]) - 1
            super().__init__(n_var=len(highest), n_obj=2, n_ieq_constr=1, xl=0, xu=highest, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            outcomes = objective(x)
            accuracy, log_macs = outcomes or objective.means
            out["F"], out["G"] = [-accuracy, log_macs], [0.0 if outcomes else 1.0]

    algorithm = NSGA2(
        pop_size=20,
        sampling=IntegerRandomSampling(),
        crossover=SBX(vtype=float, repair=RoundingRepair()),
        mutation=PM(vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    while True:  # it ends a run by itself where it can make nothing new
        minimize(Problem(), algorithm, ("n_gen", 10**6), seed=seed, verbose=False)
        seed += 1000


def smac_parego(objective: Objective, seed: int) -> None:
    """SMAC's facade for hyperparameters (a random forest) with ParEGO; missing ones crash, at the worst outcomes.

    Its proposals depend on the hash seed: it repeats a search only with the same PYTHONHASHSEED.
    """
    from ConfigSpace import ConfigurationSpace
    from smac import HyperparameterOptimizationFacade as Facade
    from smac import Scenario
    from smac.multi_objective.parego import ParEGO
    from smac.runhistory.dataclasses import TrialValue
    from smac.runhistory.enumerations import StatusType

    space = ConfigurationSpace({name: (0, size - 1) for name, size in objective.sizes.items() if size > 1}, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space,
            objectives=["error", "log_macs"],
            output_directory=folder,
            deterministic=True,
            n_trials=10**6,
            seed=seed,
        )
        facade = Facade(
            scenario,
            lambda config, seed=0: 0.0,  # not called: outcomes are told
            multi_objective_algorithm=ParEGO(scenario),
            initial_design=Facade.get_initial_design(scenario, n_configs=START, max_ratio=1.0),
            logging_level=False,
            overwrite=True,
        )
        while True:
            info = facade.ask()
            outcomes = objective([info.config.get(name, 0) for name in objective.sizes])
            accuracy, log_macs = outcomes or objective.worst
            status = StatusType.SUCCESS if outcomes else StatusType.CRASHED
            facade.tell(info, TrialValue(cost=[1 - accuracy, log_macs], status=status), save=False)


def syne_moasha(objective: Objective, seed: int, ranked: bool = False) -> None:
    """MOASHA of Syne Tune, which draws uniformly and stops at nxt's rungs those that others dominate.

    In 0.16.0 `NonDominatedPriority` returns the order of the trials (an argsort) where MOASHA takes their ranks, so
    that whom it stops has little to do with the outcomes. `ranked` turns the one into the other.
    """
    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import randint
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
    from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import NonDominatedPriority

    class Ranks(NonDominatedPriority):  # type: ignore[misc]
        def priority_unsafe(self, objectives: Any) -> Any:
            return np.argsort(super().priority_unsafe(objectives))

    np.random.seed(seed)  # noqa: NPY002 - MOASHA draws from numpy's global generator
    epochs = objective.table.epochs
    scheduler = MOASHA(
        {name: randint(0, size - 1) for name, size in objective.sizes.items()},
        metrics=["error", "log_macs"],
        multiobjective_priority=Ranks() if ranked else NonDominatedPriority(),
        max_t=epochs,
        grace_period=rungs(epochs, ETA, GRACE)[0],
        reduction_factor=ETA,
        random_seed=seed,
    )
    for number in itertools.count():
        trial = Trial(number, scheduler.suggest().config, datetime.now(UTC))
        scheduler.on_trial_add(trial)

        def stops(epoch: int, outcomes: Outcomes, trial: Trial = trial) -> bool:
            metrics = {"training_iteration": epoch, "error": 1 - outcomes[0], "log_macs": outcomes[1]}
            return bool(scheduler.on_trial_result(trial, metrics) == "STOP")

        objective([trial.config[name] for name in objective.sizes], stops)


@dataclass(frozen=True)
class Engine:
    """An engine, its package, and the most seeds and trainings to give it, since some take minutes a search."""

    search: Callable[[Objective, int], None]
    package: str
    seeds: int = 20
    trainings: int = 200


ENGINES = {
    "optuna-tpe": Engine(partial(optuna_with, "TPESampler"), "optuna", 14),
    "optuna-nsga2": Engine(partial(optuna_with, "NSGAIISampler", population_size=20), "optuna"),
    "optuna-gp": Engine(partial(optuna_with, "GPSampler", n_startup_trials=START), "optuna", 6, 50),
    "botorch-qlognehvi": Engine(botorch_qlognehvi, "botorch", 6, 50),
    "pymoo-nsga2": Engine(pymoo_nsga2, "pymoo"),
    "smac-parego": Engine(smac_parego, "smac", 6, 25),
    "syne-moasha": Engine(syne_moasha, "syne-tune"),
    "syne-moasha-ranked": Engine(partial(syne_moasha, ranked=True), "syne-tune"),
}


def installed(name: str) -> bool:
    """Tells whether an engine's package is there."""
    return importlib.util.find_spec(ENGINES[name].package.replace("-", "_")) is not None


def search_with(name: str, table: Table, epochs: float, seed: int, seconds: float = math.inf) -> tuple[Simulation, int]:
    """Searches a table with an engine, and returns what was found and the number of proposals."""
    objective = Objective(table, epochs, seconds)
    with contextlib.suppress(Spent):
        ENGINES[name].search(objective, seed)
    return objective.result, objective.proposals
