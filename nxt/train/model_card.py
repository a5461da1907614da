"""The model card beside a training's weights: what the network is, what it was trained on and how, what it reached."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nxt.arch.costs import cost
from nxt.arch.heads import task_of
from nxt.config import dump_yaml, to_mapping
from nxt.data.preprocess import Preprocess
from nxt.files import write_text
from nxt.train.history import accuracy_of, best_row, measure_of, measures_of
from nxt.train.request import TrainRequest
from nxt.units import format_count, format_seconds, plural

GUESSES = "Its last epoch does no better than guessing: too few steps, too high a rate, or wrong classes?"
_SURE = 2.0  # standard errors


def write_card(
    out: Path,
    request: TrainRequest,
    classes: Sequence[str],
    images: Mapping[str, int],
    rows: Sequence[Mapping[str, Any]],
    preprocess: Preprocess,
) -> None:
    """Writes card.yaml and CARD.md into a run directory.

    Args:
        out: The run directory.
        request: What was trained, with its sizes decided.
        classes: The names of the classes.
        images: How many images there are, by split.
        rows: The metrics of the epochs so far, at least one.
        preprocess: How an image becomes input of the trained network.

    Raises:
        RunError: if they cannot be written.
    """
    card = _card(request, classes, images, rows) | {"preprocess": to_mapping(preprocess)}
    write_text(out / "card.yaml", dump_yaml(card))
    write_text(out / "CARD.md", _page(card, request, preprocess))


def _card(
    request: TrainRequest, classes: Sequence[str], images: Mapping[str, int], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    recipe, spec = request.recipe, request.spec
    own = cost(spec, recipe.eval_size, len(classes))
    best = best_row(rows)
    return {
        "name": spec.name,
        "fingerprint": spec.fingerprint,
        "epochs": {"trained": len(rows), "asked": recipe.epochs},
        "results": {"split": best.get("split", "val"), "last": _result(rows[-1]), "best": _result(best)}
        | ({"guesses": True} if _guesses(rows[-1], len(classes), images["val"] or images["train"]) else {}),
        "cost": {"params": own.params, "macs": own.macs, "acts": own.acts, "size": recipe.eval_size},
        "data": {"source": str(request.data), "classes": list(classes), "images": dict(images)},
        "start": {"weights": request.weights or "random", "frozen": request.freeze or "nothing"},
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        **{key: value for key, value in request.record().items() if key in ("seed", "workers", "compute", "versions")},
        "arch": spec.to_dict(),
        "recipe": to_mapping(recipe),
    }


def _guesses(row: Mapping[str, Any], classes: int, images: int) -> bool:
    """Returns whether an epoch's accuracy on so many images may be that of a network that guesses among the classes."""
    chance = 1 / classes
    error = math.sqrt(chance * (1 - chance) / images)
    return measure_of(row) == "accuracy" and accuracy_of(row) <= chance + _SURE * error


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: row[key] for key in ("epoch", "accuracy", "ema_accuracy") if row[key] is not None}
    return found if measure_of(row) == "accuracy" else found | {"measures": measures_of(row)}


def _page(card: Mapping[str, Any], request: TrainRequest, preprocess: Preprocess) -> str:
    recipe, own, results, epochs = request.recipe, card["cost"], card["results"], card["epochs"]
    measure = next(iter(results["best"].get("measures", {"top-1": None})))
    images, classes = card["data"]["images"], card["data"]["classes"]
    cost = (
        f"{format_count(own['params'])} parameters, {format_count(own['macs'])} multiply-adds of conv and linear layers"
    )
    more = f" and {len(classes) - 20} more" if len(classes) > 20 else ""
    frozen = f", kept up to {request.freeze}" if request.freeze else ""
    rows = [f"| {kind}, epoch {results[kind]['epoch']} | {_accuracies(results[kind])} |" for kind in ("best", "last")]
    made = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    asked = plural(recipe.epochs, "epoch")
    trained = f"Trained for {epochs['trained']} of {asked} on {images['train']:,} images"
    lines = [
        f"# {card['name']}\n",
        f"{trained} of {request.data.display}.\n",
        f"| {_SPLITS[results['split']]}, {images['val']:,} images | {measure} | averaged weights |\n|---|---|---|",
        *rows,
        f"\n{_FLATTERS[results['split']]}; `nxt eval` measures on images nobody has seen.\n",
        *([f"{GUESSES}\n"] if "guesses" in results else []),
        *([f"- **Task**: {task_of(recipe.head)} with {recipe.head} on the network."] if recipe.head else []),
        f"- **Cost** at {own['size']} px: {cost}, {format_count(own['acts'])} activations.",
        f"- **Classes** ({len(classes)}): {', '.join(classes[:20])}{more}.",
        f"- **Input**: {recipe.size} px in training. After it: {preprocess}.",
        f"- **Recipe**: {recipe.optimizer}, {asked}, batch {recipe.batch}, rate {recipe.peak:g}.",
        *([f"  {recipe.about}"] if recipe.about else []),
        f"- **Start**: {request.weights or 'random weights'}{frozen}; seed {request.seed}.",
        f"- **Time**: {format_seconds(card['seconds'])}; {made}.\n",
        _USE,
    ]
    return "\n".join(lines)


def _accuracies(row: Mapping[str, Any]) -> str:
    return " | ".join(f"{row[key]:.2%}" if key in row else "-" for key in ("accuracy", "ema_accuracy"))


_SPLITS = {"val": "validation split", "train": "images it was trained on"}
_FLATTERS = {
    "val": "These images chose the best epoch, so they flatter it",
    "train": "No image was held out (holdout: 0), so the last epoch is the best there is",
}
_USE = """## Use

```python
import nxt

network = nxt.load("checkpoints/last.pt")  # a torch.nn.Module in evaluation mode
```

`nxt eval checkpoints/last.pt` measures it, `nxt export checkpoints/last.pt --to onnx` hands it on,
`nxt predict checkpoints/last.pt IMAGE...` uses it. `checkpoints/best.pt` is the best epoch by the validation images,
which chose it. card.yaml has everything as data.
"""
