"""The pages: those that are generated are up to date, and no link leads nowhere."""

import importlib.util
import re
import subprocess
import typing
from pathlib import Path

import pytest

import nxt

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for place in (".", "docs", "benchmarks", "results")
    for page in (ROOT / place).glob("*.md" if place == "." else "**/*.md")
)


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()


def prose(page):
    """Return a page without its code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page):
    """Return the anchors that GitHub makes of a page's headings."""
    code_free = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", code_free, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


@pytest.mark.parametrize(("name", "make"), GENERATOR.PAGES.items())
def test_a_generated_page_is_what_the_program_says(name, make):
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == make(), "out of date: run `python docs/generate.py`"


def test_the_python_page_has_every_public_name_and_every_class_that_one_returns():
    text = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")
    for name in nxt.__all__:
        assert f"### nxt.{name}\n" in text
    returned = {typing.get_type_hints(nxt.cost)["return"], *GENERATOR.RETURNED}
    assert {kind.__name__ for kind in returned} <= set(re.findall(r"^### (?:nxt\.)?(\w+)$", text, flags=re.M))


def test_the_command_page_has_every_option_of_a_command():
    text = (ROOT / "docs" / "COMMANDS.md").read_text(encoding="utf-8")
    section = text.split("## nxt pick\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`(--\w+)", section)) == {
        "--flops", "--params", "--acts", "--memory", "--latency", "--throughput", "--out",
    }  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link} has no such heading"


def test_links_are_found_outside_code_and_anchors_are_as_on_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# What it's for\n\n[a](b.md#c), ![d](e.png), `[f](g)`\n\n```\n# no heading [h](i)\n```\n", "utf-8")
    assert links(page) == ["b.md#c", "e.png"]
    assert anchors(page) == {"what-its-for"}


def test_pages_that_git_knows_are_all_looked_at():
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert {ROOT / line for line in listed.stdout.splitlines()} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_code_that_a_page_names_are_there(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:nxt|cli|tests|benchmarks|search_spaces)/[\w/.]*)`", text):
        if page.name != "CHANGELOG.md" and not path.startswith("results"):
            assert (ROOT / path).exists(), path


def test_the_map_has_a_word_for_every_module():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`(\w+)`", text))
    for path in (ROOT / "nxt").rglob("*.py"):
        assert path.stem in words or path.stem == "__init__", path


def test_every_decision_is_indexed_and_has_its_parts():
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(folder.glob("[0-9]*.md"))
    assert len(pages) > 40
    for number, page in enumerate(pages, 1):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04}-") and text.startswith(f"# {number:04} ")
        assert f"]({page.name})" in index and len(text.splitlines()) < 45
        assert all(part in text for part in ("**What.**", "**Why.**", "**What else was considered.**", "**Where.**"))
