"""A search whose images do not fit: made-up JPEGs, decoded once a machine; memory, time and waiting, and a kill.

    python benchmarks/big_data.py --out found.json                  # 100,000 images of 1,000 classes, about 4 GB
    python benchmarks/big_data.py --images 2000 --classes 10 --size 96 --flops :40M --out small.json

It makes images (in a temporary folder that is removed at the end, or in --folder, which stays), starts a search of two
trials at a time, kills it with SIGKILL when half of the images are decoded, starts it again, and measures an epoch's
images as they come from the cache in memory, from the cache on disk, and decoded each time. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, circumstances, options_of, tell, write_json

_POLL = 0.2  # seconds between two looks at memory
_TRIAL = ("--workers", "2", "--gpus-per-trial", "0", "--confirm", "0")


def make_image(path: Path, label: int, number: int) -> None:
    """Write a JPEG of 300 to 500 px a side: coarse noise in a class's colour, about as many bytes as a photograph."""
    from PIL import Image

    rng = np.random.default_rng([label, number])
    width, height = rng.integers(300, 501, 2).tolist()
    coarse = rng.integers(0, 160, (height // 6, width // 6, 3)) + np.random.default_rng(label).integers(0, 96, 3)
    image = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    image.save(path, quality=90)


def make_images(folder: Path, count: int, classes: int, threads: int) -> None:
    """Make so many images in class folders; those that are there stay."""
    for label in range(classes):
        (folder / f"c{label:04}").mkdir(parents=True, exist_ok=True)

    def one(number: int) -> None:
        path = folder / f"c{number % classes:04}" / f"{number:06}.jpg"
        if not path.exists():
            make_image(path, number % classes, number)

    with ThreadPoolExecutor(threads) as pool:
        for done, _ in enumerate(pool.map(one, range(count)), 1):
            if done % 5000 == 0:
                tell(f"made {done:,} of {count:,} images")


class Search:
    """`nxt search` in a process of its own, whose memory is looked at all the time."""

    def __init__(self, options: argparse.Namespace, folder: Path, cache: Path, out: Path) -> None:
        settings = [f"proxy.size={options.size}", f"proxy.epochs={options.epochs}", "search.grace=1.0"]
        command = [sys.executable, "-m", "nxt", "search", options.space, "--flops", options.flops, "--trials", "2"]
        command += ["--data", f"folder:{folder}", "--out", str(out), *_TRIAL]
        command += [part for setting in settings for part in ("--set", setting)]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "NXT_CACHE": str(cache)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        self.lines: list[str] = []
        self.driver = self.store = self.before = 0  # bytes: peaks, and the driver's before it decodes
        self.times: dict[str, float] = {}  # seconds until something was said first
        for target in (self._read, self._watch):
            threading.Thread(target=target, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self.before = self.before or _status(self.process.pid, "RssAnon")
            self.lines.append(line.rstrip())
            tell(f"  {line.rstrip()}")
            for name, said in (("decoded", r"decoding images, (.*) of \1,"), ("begun", r"\d+ trials of up to")):
                if re.match(said, line):
                    self.times.setdefault(name, time.monotonic() - self.began)

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.driver = max(self.driver, _status(self.process.pid, "RssAnon"))
            self.store = max([self.store, *(_status(pid, "RssShmem") for pid in _raylets(self.process.pid))])
            time.sleep(_POLL)

    def end(self) -> None:
        """Wait for the end of it."""
        if self.process.wait():
            raise SystemExit("\n".join(["the search failed:", *self.lines[-5:]]))


def _status(pid: int, key: str) -> int:
    """Return a number of bytes that the kernel tells of a process; 0 if it is gone."""
    try:
        found = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return 1024 * int(found[1]) if found else 0


def _raylets(parent: int) -> list[int]:
    """Return the processes of Ray's own node that a process started; its object store lives in there."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        names = {int(pid): Path(f"/proc/{pid}/comm").read_text().strip() for pid in children}
    except OSError:
        return []
    return [pid for pid, name in names.items() if name == "raylet"]


def decoded_images(cache: Path) -> int:
    """Return how many images the cache of a search has by now."""
    return sum(file.stat().st_size // 4 for file in cache.glob("search-*.shapes"))


def killed_and_again(options: argparse.Namespace, folder: Path, work: Path) -> dict[str, Any]:
    """Kill a search when half of its images are decoded, and start it again."""
    cache = work / "cache"
    first = Search(options, folder, cache, work / "run")
    while decoded_images(cache) < options.images * 0.4 and first.process.poll() is None:
        time.sleep(_POLL)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    before = decoded_images(cache)
    second = Search(options, folder, cache, work / "run")
    second.end()
    pixels = next(cache.glob("search-*.pixels"))
    return {
        "images_decoded_when_killed": before,
        "images_decoded_at_the_end": decoded_images(cache),
        "cache_bytes": pixels.stat().st_size,
        "driver_bytes_before": first.before,
        "driver_peak_bytes": max(first.driver, second.driver),
        "object_store_peak_bytes": max(first.store, second.store),
        "seconds_to_decode_the_rest": second.times.get("decoded"),
        "seconds_to_begin": second.times.get("begun"),
        "seconds": time.monotonic() - second.began,
    }


def epochs(options: argparse.Namespace, folder: Path, cache: Path) -> dict[str, Any]:
    """Measure the images of an epoch in each form, and how long a training waits for them."""
    import torch

    from nxt.data.ref import DataRef
    from nxt.data.sources import open_source
    from nxt.data.squares import Squares
    from nxt.search.proxy import load_proxy
    from nxt.train.recipe import load_recipe

    data = DataRef("folder", str(folder))
    recipe = load_recipe(load_proxy(data, {}).recipe, {"epochs": options.epochs})
    source = open_source(data)
    preprocess = recipe.preprocess(options.size, source.mean, source.std)
    figures: dict[str, Any] = {"batch": recipe.batch}
    for form in ("cache in memory", "cache on disk", "decoded each time"):
        os.environ["NXT_CACHE"] = "/proc/none" if form == "decoded each time" else str(cache)
        if form == "cache on disk":
            forget(cache)
        began, faults = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_majflt
        opened = Squares(source, preprocess.resized).open()
        figures[form] = {"seconds_to_open": time.monotonic() - began}
        figures[form] |= one_epoch(opened, recipe, options, torch.device("cpu"))
        figures[form]["reads_from_disk"] = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults
        del opened
    return figures


def forget(cache: Path) -> None:
    """Have the kernel drop what it keeps of a cache in memory."""
    gc.collect()  # what is still mapped it would not drop
    for file in cache.glob("search-*.pixels"):
        with file.open("rb") as pixels:
            os.fsync(pixels.fileno())
            os.posix_fadvise(pixels.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def one_epoch(data: Any, recipe: Any, options: argparse.Namespace, device: Any) -> dict[str, float]:
    """Give out an epoch's images without training; then train an epoch, and see how much of it goes by waiting."""
    from nxt.arch.load import parse_name
    from nxt.data.draw import Draw
    from nxt.data.resident import Batches
    from nxt.train.engine.setup import resident_trainer

    preprocess = recipe.preprocess(options.size, data.mean, data.std)
    images = Batches(data.train, preprocess, device)
    began, count = time.perf_counter(), 0
    for batch, _ in images.train(Draw(batch=recipe.batch, augment=recipe.augment, seed=0), 0):
        count += len(batch)
        if time.perf_counter() - began > options.seconds:
            break
    seconds = time.perf_counter() - began
    found = {"images": count, "images_per_second": count / seconds, "waited_seconds": images.waited}
    found["seconds_of_an_epoch"] = len(data.train) * seconds / count
    if len(data.train) <= options.trained:
        report = resident_trainer(parse_name(options.network), data, recipe, options.size, device, 0).run_epoch()
        found |= {"trained_epoch_seconds": report.seconds, "trained_wait_share": report.wait}
    return found


def decode_rate(folder: Path, sides: tuple[int, ...], count: int = 200) -> dict[str, Any]:
    """Measure how many images one core decodes in a second, by the side of the squares."""
    from nxt.data.sources.image_files import OnDisk, _decode_one

    names = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*.jpg"))[:count]
    files = OnDisk(folder, names)
    rates = {}
    for side in sides:
        began = time.process_time()
        for number in range(len(names)):
            _decode_one(files, side, number)
        rates[f"{side} px"] = len(names) / (time.process_time() - began)
    return rates


def main() -> None:
    """Make the images, run all parts, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--size", type=int, default=128, help="side of the proxies' images in pixels")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--flops", default=":60M")
    parser.add_argument("--network", default="resnext_1-1-1-1_w8_1x8d", help="trained to see how long it waits")
    parser.add_argument("--trained", type=int, default=20_000, help="most images that it is trained on")
    parser.add_argument("--seconds", type=float, default=120.0, help="most of an epoch's images given out")
    parser.add_argument("--threads", type=int, default=2, help="that make the images")
    parser.add_argument("--folder", type=Path, help="where the images are made, and stay")
    parser.add_argument("--out", type=Path, default=RESULTS / "big-data.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nxt-big-") as work:
        folder = options.folder or Path(work) / "images"
        make_images(folder, options.images, options.classes, options.threads)
        own = sum(path.stat().st_size for path in folder.glob("*/*.jpg"))
        found: dict[str, Any] = {**circumstances(), "options": options_of(options), "image_file_bytes": own}
        found["decoded_per_second_and_core"] = decode_rate(folder, (options.size, 224))
        found["search"] = killed_and_again(options, folder, Path(work))
        found["epoch"] = epochs(options, folder, Path(work) / "cache")
        write_json(options.out, found)
    tell(f"written to {options.out}")


if __name__ == "__main__":
    main()
