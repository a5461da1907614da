"""Build the documentation as a site: `python docs/build_site.py [FOLDER]`, by default into build/site."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).resolve().parents[1]
SHIM = "https://unpkg.com/iframe-worker/shim"  # for the search of pages opened as files; here a copy of ours
LINK = re.compile(r"\]\(([^)\s#:]+)")


def collect(folder: Path) -> list[str]:
    """Copy the pages that git knows, and the files that they link to, into a new folder; return the pages' paths."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    pages = sorted(listed.stdout.splitlines())
    linked = {(ROOT / page).parent / link for page in pages for link in LINK.findall((ROOT / page).read_text("utf-8"))}
    for source in {ROOT / page for page in pages} | {path.resolve() for path in linked if path.is_file()}:
        target = folder / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return pages


def build_site(folder: Path) -> None:
    """Build the site into a folder. Links that lead nowhere end it with mkdocs.exceptions.Abort."""
    logging.basicConfig(format="%(message)s")  # warnings
    pages = folder.with_name("pages")
    found = collect(pages)
    config = load_config(str(ROOT / "docs" / "mkdocs.yml"), docs_dir=str(pages), site_dir=str(folder), strict=True)
    config.nav[-1]["Decisions"] += [page for page in found if page.startswith("docs/decisions/0")]
    build(config)
    shutil.copyfile(ROOT / "docs" / "iframe-worker.js", folder / "iframe-worker.js")
    for page in folder.rglob("*.html"):
        local = "../" * (len(page.relative_to(folder).parts) - 1) + "iframe-worker.js"
        page.write_text(page.read_text("utf-8").replace(SHIM, local), "utf-8")


if __name__ == "__main__":
    build_site(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").resolve())
