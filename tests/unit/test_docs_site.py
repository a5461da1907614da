"""The documentation as a site: all pages are there, no link leads nowhere, and nothing comes from a network."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from limits import LIMIT

pytest.importorskip("material", reason="mkdocs-material is not installed")
ROOT = Path(__file__).resolve().parents[2]
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


class Loads(HTMLParser):
    """What a page loads when it is shown, and where it links to."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.links = [], []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "a":
            self.links.append(values.get("href") or "")
        elif tag in LOADS and LOADS[tag] in values:
            self.loads.append(values[LOADS[tag]])


def python(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = python(ROOT / "docs" / "build_site.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_that_git_knows_is_on_the_site_and_the_decisions_are_in_the_navigation(site):
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    for page in map(Path, listed.stdout.splitlines()):
        built = page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html")
        assert (site / built).is_file(), page
    links = Loads(site / "index.html").links
    decisions = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    assert {f"docs/decisions/{page.stem}.html" for page in decisions} <= set(links)
    assert (site / "results" / "figures" / "live.png").is_file()


def test_a_page_loads_nothing_from_a_network(site):
    pages = list(site.rglob("*.html"))
    found = {load for page in pages for load in Loads(page).loads}
    assert len(pages) > 70 and "iframe-worker.js" in found
    assert not [load for load in found if load.startswith(("http:", "https:", "//"))]
    assert "__index" in (site / "search" / "search_index.js").read_text("utf-8")


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path):
    broken = (
        "import sys; sys.path.insert(0, 'docs'); import build_site; from pathlib import Path\n"
        "real = build_site.collect\n"
        "def collect(folder):\n"
        "    pages = real(folder)\n"
        "    (folder / 'README.md').write_text('# nxt\\n\\n[a](docs/NOWHERE.md), [b](docs/GPU.md#no-such-part)\\n')\n"
        "    return pages\n"
        "build_site.collect = collect\n"
        f"build_site.build_site(Path({str(tmp_path / 'site')!r}))\n"
    )
    done = python("-c", broken)
    assert done.returncode != 0
    assert "docs/NOWHERE.md" in done.stderr and "no-such-part" in done.stderr
