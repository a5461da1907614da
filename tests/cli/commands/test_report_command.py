"""`nxt report`: one page about a search, on searches whose accuracies are made up."""

import shutil

import pytest


def test_help_says_what_it_takes_and_writes(nxt):
    result = nxt("report", "--help")
    assert result.code == 0 and result.err == ""
    assert "nxt report [OPTIONS] {RUN}" in result.out and "--figures" in result.out and "--out" in result.out


def test_the_page_goes_to_the_run_and_its_sections_are_named(nxt, longer, tmp_path):
    run = shutil.copytree(longer, tmp_path / "run")
    result = nxt("report", run)
    assert result.code == 0 and result.err == ""
    assert result.out.startswith(f"{run / 'report.html'}: summary, front, drawings, hypervolume, curves, errors, gate")
    page = (run / "report.html").read_text(encoding="utf-8")
    shown = nxt("show", run).out
    verdict = next(line for line in shown.splitlines() if line.startswith("Best: "))
    assert verdict.split(";")[0] in page and "12 done" in page and f"nxt train {run / 'best.yaml'}" in page
    assert not [path for path in run.iterdir() if path.name.endswith(".tmp")]


def test_page_and_figures_go_where_they_are_asked_for(nxt, confirmed, tmp_path):
    result = nxt("report", confirmed, "--out", "page.html", "--figures", "figures")
    assert result.code == 0 and result.err == ""
    assert (tmp_path / "page.html").stat().st_size < 10_000_000
    names = [f"{name}{suffix}" for name in ("front", "errors", "curves") for suffix in (".png", ".svg")]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(names)
    assert [line.rpartition("/")[2] for line in result.out.splitlines()[1:]] == names
    assert not (confirmed / "report.html").exists()


def test_against_a_random_search_its_hypervolume_stands_beside(nxt, longer, drawn, tmp_path):
    result = nxt("report", longer, "--against", drawn, "--out", "page.html")
    assert result.code == 0 and result.err == ""
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"Grey: {drawn}, random, on the same scale" in page and "random, mean over orders" in page
    assert "9 of 10 orders" in page
    swapped = nxt("report", drawn, "--against", longer, "--out", "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert swapped.code == 0 and "mean over orders" not in page and f"Grey: {longer}, ehvi," in page


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 1, "nowhere: not a run directory"),
        (["{run}", "--out", "page.pdf"], 2, "a page's name ends in .html"),
        (["{run}", "--out", "no/page.html"], 1, "no/page.html: cannot be written"),
        (["{run}", "--out", "page.html", "--figures", "file/inside"], 1, "file/inside: cannot be created"),
        (["{run}", "--against", "nowhere"], 1, "nowhere: not a run directory"),
        (["{run}", "--against", "{longer}"], 1, "its proxy differs, so it does not compare"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_goes_wrong_is_said(nxt, searched, longer, tmp_path, arguments, code, said):
    (tmp_path / "file").write_text("")
    result = nxt("report", *(text.format(run=searched, longer=longer) for text in arguments))
    assert result.code == code and said in result.err and result.out.count("\n") <= 1
    assert code == 2 or len(result.err.splitlines()) == 1


def test_a_study_that_is_damaged_is_said_in_one_line(nxt, searched, tmp_path):
    run = shutil.copytree(searched, tmp_path / "run")
    (run / "study.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    result = nxt("report", run)
    assert result.code == 1 and len(result.err.splitlines()) == 1 and "study.db" in result.err
    assert not (run / "report.html").exists()


def test_show_and_report_tell_the_proxy_as_it_was(nxt, tmp_path, searched):
    proxy = "8 px, own stem, 0.25 of the width, 0.5 of the training images, 1 epoch, recipe proxy"
    assert f"Proxy trainings: {proxy}; always the largest class would give " in nxt("show", searched).out
    assert nxt("report", searched, "--out", tmp_path / "page.html").code == 0
    assert f"proxy training: {proxy}" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_training_has_a_page_too_also_beside_another_one(nxt, trained, searched, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    result = nxt("report", run, "--against", trained)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{run / 'report.html'}: summary, curves, epochs, recipe, provenance\n"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "+0.0 points against run" in page and f"nxt eval {run}" in page
    mixed = nxt("report", run, "--against", searched)
    assert mixed.code == 1 and "a run of 'search', where a training was expected" in mixed.err
    drawn = nxt("report", run, "--figures", "figures")
    assert drawn.code == 2 and "--figures is for searches" in drawn.err
