"""Images as people have them: the same files as folders, archives, tables and Hugging Face data sets."""

import csv
import io
import shutil
import tarfile
import zipfile

import pytest
from PIL import Image

KINDS = ("folder", "zip", "tar", "tar.gz", "csv", "parquet", "hf", "hf parquet", "uri", "shards")


def encoded(colour, size=(12, 10), suffix="png", mode="RGB", **options):
    """Return the bytes of an image of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).convert(mode).save(file, Image.registered_extensions()[f".{suffix}"], **options)
    return file.getvalue()


def files_of(splits=("train", "test"), classes=("cat", "dog"), count=3, suffix="png"):
    """Return {path: bytes} of images that all differ, as SPLIT/CLASS/0.png ...; of the split "" as CLASS/0.png ..."""
    return {
        f"{split}/{name}/{index}.{suffix}".removeprefix("/"): encoded((40 * c, 10 * index, len(split)), suffix=suffix)
        for split in splits
        for c, name in enumerate(classes)
        for index in range(count)
    }


def packed(kind, files, where):
    """Write files {[SPLIT/]CLASS/NAME: bytes} in one of `KINDS`; return what `--data` takes."""
    where.mkdir(parents=True, exist_ok=True)
    root = where / "mine"
    if kind == "zip":
        return f"folder:{zipped(files, where / 'mine.zip')}"
    if kind.startswith("tar"):
        return f"folder:{tarred(files, where / f'mine.{kind}')}"
    if kind == "shards":
        return f"shards:{sharded(files, root)}"
    if kind.startswith("hf"):
        return f"hf:{hugging_face(files, root, kind == 'hf')}"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    if kind in ("folder", "uri"):
        return f"folder:{root if kind == 'folder' else root.as_uri()}"
    rows = [
        {"path": name, "label": name.split("/")[-2], "split": name.split("/")[-3]}
        for name in files
        if name.count("/") == 2
    ]
    rows = rows or [{"path": name, "label": name.split("/")[-2]} for name in files]
    return f"table:{(write_csv if kind == 'csv' else write_parquet)(root / f'list.{kind}', rows)}"


def zipped(files, path, compression=zipfile.ZIP_DEFLATED):
    """Write a zip of {path: bytes}."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(files, path):
    """Write a tar of {path: bytes}, compressed as its ending says."""
    with tarfile.open(path, f"w:{path.name.rpartition('.')[2].replace('tar', '')}") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sharded(files, folder, of_shard=4):
    """Write files {[SPLIT/]CLASS/NAME: bytes} as shards of some images each, beside their `.cls`; return a pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for path, content in files.items():
        *split, of_class, name = path.split("/")
        key, ending = name.rsplit(".", 1)
        members = {f"{of_class}/{key}.{ending}": content, f"{of_class}/{key}.cls": of_class.encode()}
        splits.setdefault(split[0] if split else "train", []).append(members)
    for split, images in splits.items():
        for number, start in enumerate(range(0, len(images), of_shard)):
            members = {name: content for image in images[start : start + of_shard] for name, content in image.items()}
            tarred(members, folder / f"mine-{split}-{number:04}.tar")
    return f"{folder}/*.tar"


def write_csv(path, rows, delimiter=","):
    """Write rows (dicts) as a table with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path, rows):
    """Write rows (dicts) as Parquet."""
    from pyarrow import Table, parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(Table.from_pylist(rows), path)
    return path


def hugging_face(files, path, saved):
    """Write files {[SPLIT/]CLASS/NAME: bytes} as a data set, by `save_to_disk` or as Parquet files; skip without it."""
    datasets = pytest.importorskip("datasets", reason="the package `datasets` is not installed (nxt[hf])")
    shutil.rmtree(path, ignore_errors=True)
    parts = {}
    for name, content in files.items():
        *split, of_class, _ = name.split("/")
        rows = parts.setdefault(split[0] if split else "train", {"image": [], "label": []})
        rows["image"].append({"bytes": content, "path": None})
        rows["label"].append(of_class)
    classes = sorted({of_class for rows in parts.values() for of_class in rows["label"]})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)})
    made = {split: datasets.Dataset.from_dict(rows, features=features) for split, rows in parts.items()}
    if saved and list(made) == ["train"]:
        made["train"].save_to_disk(path)
    elif saved:
        datasets.DatasetDict(made).save_to_disk(path)
    else:
        (path / "data").mkdir(parents=True)
        for split, part in made.items():
            part.to_parquet(path / "data" / f"{split}-00000-of-00001.parquet")
    return path
