"""`nxt runs`: a line for each run, also for damaged ones; as a table and as JSON."""

import json
import shutil


def test_each_run_is_a_line_and_each_damaged_one_too(nxt, searched, confirmed, trained, tmp_path):
    shutil.copytree(confirmed, tmp_path / "results" / "confirmed")
    shutil.copytree(searched, tmp_path / "results" / "search")
    shutil.copytree(trained, tmp_path / "results" / "training")
    (tmp_path / "results" / "other").mkdir()
    (tmp_path / "results" / "other" / "run.yaml").write_text("command: mlflow\n")
    result = nxt("runs")
    assert result.code == 0 and not result.err
    head, _, *lines = (line.split() for line in result.out.splitlines())
    assert head[:5] == ["run", "kind", "state", "done", "best"]
    by_name = {line[0]: line[1:] for line in lines}
    assert by_name["results/search"][:6] == ["search", "complete", "5", "of", "5", "trials"]
    assert " ".join(by_name["results/confirmed"]).startswith("search complete 5 trials and 4 more to confirm")
    assert by_name["results/training"][:6] == ["training", "complete", "1", "of", "1", "epochs"]
    assert by_name["results/other"][0] == "damaged"
    assert "run.yaml: names no command of nxt" in result.out
    found = json.loads(nxt("runs", "results", "--json").out)
    assert {run["path"]: run["state"] for run in found["runs"]} == {
        **dict.fromkeys(("results/search", "results/confirmed", "results/training"), "complete"),
        "results/other": "damaged",
    }
    best = next(run for run in found["runs"] if run["path"] == "results/search")
    shown = json.loads(nxt("show", "results/search", "--json").out)["best"]
    assert (best["best"], best["accuracy"]) == (shown["name"], shown["accuracy"])


def test_a_folder_without_runs_is_no_mistake(nxt, tmp_path):
    (tmp_path / "results").mkdir()
    result = nxt("runs")
    assert (result.code, result.out) == (0, "results: no runs here; nxt search and nxt train make them\n")


def test_it_imports_neither_torch_nor_ray(python_process, searched):
    code = "import sys\nfrom nxt.cli.main import main\ntry:\n    main()\nfinally:\n"
    code += "    print('loaded:', *sorted({'torch', 'ray', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    result = python_process("-c", code, "runs", searched.parent)
    assert result.code == 0 and result.err.splitlines()[-1].strip() == "loaded:", result.err
