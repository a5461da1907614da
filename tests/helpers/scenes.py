"""Scenes on disk: images with coloured boxes in COCO's files, and images with masks beside each other."""

import json

import numpy as np
from PIL import Image

COLOURS = {7: (250, 20, 20), 3: (20, 250, 20), 90: (20, 20, 250)}  # by category id, which are sparse
GREY = 90


def coco_scenes(root, splits=("train", "val"), count=4, size=(40, 30), seed=0):
    """Write scenes of a coloured rectangle each, and one of a crowd and one without any; return {split: content}."""
    rng = np.random.default_rng(seed)
    contents = {}
    for split in splits:
        images, annotations = [], []
        for number in range(count + 2):
            pixels = np.full((size[1], size[0], 3), GREY, dtype=np.uint8)
            pixels[0, 0] = len(split)  # no image is in two splits
            images.append({"id": 10 * number + 1, "file_name": f"{number}.png", "width": size[0], "height": size[1]})
            if number <= count:
                category = list(COLOURS)[number % len(COLOURS)]
                left, top = rng.integers(2, [size[0] // 2, size[1] // 2]).tolist()
                width, height = rng.integers(6, [size[0] // 2 - 2, size[1] // 2 - 2]).tolist()
                pixels[top : top + height, left : left + width] = COLOURS[category]
                annotations.append(annotation(images[-1]["id"], category, (left, top, width, height), number))
                annotations[-1]["iscrowd"] = int(number == count)
            (root / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / split / f"{number}.png")
        names = {7: "lamp", 3: "cat", 90: "tree"}
        categories = [{"id": category, "name": name} for category, name in names.items()]
        contents[split] = {"images": images, "annotations": annotations, "categories": categories}
        write(root, split, contents[split])
    return contents


def annotation(image, category, box, number):
    """Return an annotation with the outline of its box."""
    left, top, width, height = box
    right, bottom = left + width, top + height
    return {
        "id": 100 + number,
        "image_id": image,
        "category_id": category,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
    }


def write(root, split, content):
    """Write the annotation file of a split."""
    (root / "annotations").mkdir(exist_ok=True, parents=True)
    file = root / "annotations" / f"instances_{split}.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def mask_scenes(root, splits=("train", "val"), count=4, size=(24, 18), layout="{split}/{kind}"):
    """Write scenes of three classes: halves of 0 and 1, a square of 2, a line of 255; of each class one colour."""
    colours = np.array([(20, 20, 200), (20, 200, 20), (200, 20, 20)], dtype=np.uint8)
    for split in splits:
        folders = [root / layout.format(split=split, kind=kind) for kind in ("images", "masks")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            mask = np.zeros((size[1], size[0]), dtype=np.uint8)
            mask[:, size[0] // 2 :] = 1
            mask[3:9, 2 + number : 8 + number] = 2
            pixels = colours[mask]
            pixels[-1, 0] = len(split)  # no image is in two splits
            Image.fromarray(pixels).save(folders[0] / f"{number}.png")
            mask[-1] = 255
            Image.fromarray(mask).save(folders[1] / f"{number}.png")
