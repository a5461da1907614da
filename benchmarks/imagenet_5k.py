"""Makes the ImageNet-5K of the ResNeXt paper (sec. 5.2) from the full ImageNet: a folder of links, no copy.

Its 5,000 classes are the 1,000 of ImageNet-1K and, of all others, the 4,000 with the most images (of equals, the first
by name). The validation images are those of ImageNet-1K. Train with as many mini-batches as on ImageNet-1K, and judge
among all 5,000 classes, or among the 1,000 with the list of them that is written, too:

    python benchmarks/imagenet_5k.py FULL IMAGENET_1K 5k
    nxt train resnext50_32x4d --data folder:5k --recipe resnext-imagenet --set steps=500000 --out run
    nxt eval run                            # 5K-way
    nxt eval run --classes 5k/classes.txt   # 1K-way
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from common import tell


def chosen(full: Path, first: list[str], more: int) -> dict[str, int]:
    """Return the classes with their numbers of images: the given ones, and of the others the largest.

    Raises:
        SystemExit: if a class is missing, or there are too few.
    """
    counts = {entry.name: sum(1 for _ in os.scandir(entry)) for entry in os.scandir(full) if entry.is_dir()}
    missing = [name for name in first if name not in counts]
    if missing:
        raise SystemExit(f"{full}: {len(missing)} classes of ImageNet-1K are not there, such as {missing[0]}")
    others = sorted(set(counts) - set(first), key=lambda name: (-counts[name], name))
    if len(others) < more:
        raise SystemExit(f"{full}: has {len(others)} other classes, fewer than {more}")
    return {name: counts[name] for name in sorted([*first, *others[:more]])}


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("full", type=Path, help="folder of the full ImageNet: a folder of images for each wnid")
    parser.add_argument("imagenet_1k", type=Path, help="folder of ImageNet-1K with train/ and val/, by wnid")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--more", type=int, default=4000, help="classes beside those of ImageNet-1K")
    options = parser.parse_args()
    for part in ("train", "val"):
        if not (options.imagenet_1k / part).is_dir():
            raise SystemExit(f"{options.imagenet_1k}: there is no folder {part}")
    if options.out.exists():
        raise SystemExit(f"{options.out}: exists already; choose another folder")
    first = sorted(path.name for path in (options.imagenet_1k / "train").iterdir() if path.is_dir())
    classes = chosen(options.full, first, options.more)
    for part in ("train", "val"):
        (options.out / part).mkdir(parents=True)
        for name in classes:
            link = options.out / part / name
            if name in first:
                link.symlink_to((options.imagenet_1k / part / name).resolve())
            elif part == "train":
                link.symlink_to((options.full / name).resolve())
            else:
                link.mkdir()  # a class without validation images, as nxt wants it
    (options.out / "classes.txt").write_text("".join(f"{name}\n" for name in first))
    tell(f"{options.out}: {len(classes):,} classes; {sum(classes.values()):,} images of them in {options.full}")


if __name__ == "__main__":
    main()
