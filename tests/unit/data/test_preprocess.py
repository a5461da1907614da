"""What images of unusual kinds become, alike wherever images are read."""

import struct
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps
from splits import load_split

from nxt.data.preprocess import Preprocess, rgb
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.transforms import evaluation, network_input
from nxt.errors import DataError

SIDE = 16
GREY = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
COLOURS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
PLAIN = Preprocess(size=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)


def saved(image, root, name, **options):
    """A data set of two classes whose first image of cats is the given one."""
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(COLOURS).save(root / split / label / "z.png")
    image.save(root / "train" / "cat" / name, **options)
    return root / "train" / "cat" / name


def everywhere(file):
    """The pixels of the first training image as each way of reading gives them, (H, W, 3)."""
    source = open_source(DataRef("folder", str(file.parents[2])))
    yield np.asarray(source.open("train", 0))
    yield load_split(source, "train", SIDE).images[0].transpose(1, 2, 0)
    yield evaluation(PLAIN)(source.open("train", 0)).permute(1, 2, 0).numpy()
    with Image.open(file) as image:
        given = network_input(PLAIN, image).permute(1, 2, 0).numpy()
    yield np.rint((given * 0.25 + 0.5) * 255).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.ppm"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    for pixels in everywhere(saved(Image.fromarray(GREY * 257), tmp_path, name)):
        assert (pixels == GREY.astype(np.uint8)[..., None]).all()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_data_say(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {}
    file = saved(Image.fromarray(COLOURS), tmp_path, f"a{suffix}", exif=exif, **options)
    tagged = Image.fromarray(COLOURS)
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged))
    assert (expected == COLOURS).all() == (orientation == 1)
    for pixels in everywhere(file):
        assert (pixels == expected).all()


def test_a_jpeg_is_turned_also_where_it_is_decoded_smaller(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # what is left in the file is shown at the top
    sides = Image.new("RGB", (256, 256))
    sides.paste((255, 255, 255), (0, 0, 128, 256))
    for pixels in everywhere(saved(sides, tmp_path, "a.jpg", exif=exif)):
        height = len(pixels)
        assert pixels[: height // 4].min() > 200 and pixels[-height // 4 :].max() < 50


def clear(mode):
    """A black square, on what is transparent and black, too."""
    pixels = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    pixels[4:8, 4:8, 3] = 255
    image = Image.fromarray(pixels)
    return image.quantize(8) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", ".png"), ("LA", ".png"), ("P", ".png"), ("RGBA", ".webp")])
def test_what_is_transparent_is_white(tmp_path, mode, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    for pixels in everywhere(saved(clear(mode), tmp_path, f"a{suffix}", **options)):
        assert (pixels[4:8, 4:8] == 0).all() and int((pixels == 255).sum()) == 3 * (SIDE * SIDE - 16)


def test_a_transparent_colour_is_white_and_half_transparent_is_half_white(tmp_path):
    keyed = Image.fromarray(np.zeros((SIDE, SIDE), dtype=np.uint8))
    for pixels in everywhere(saved(keyed, tmp_path, "a.png", transparency=0)):
        assert (pixels == 255).all()
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert rgb(half).getpixel((0, 0)) == (127, 127, 127)


def test_opaque_pixels_stay_to_the_bit():
    image = Image.fromarray(COLOURS)
    assert (np.asarray(rgb(image.convert("RGBA"))) == COLOURS).all()
    assert (np.asarray(rgb(image)) == COLOURS).all()


@pytest.mark.parametrize(("mode", "kind"), [("F", "floating-point numbers"), ("I", "32-bit integers")])
def test_pixels_without_a_known_range_are_refused_by_name(tmp_path, mode, kind):
    file = saved(Image.fromarray(GREY).convert(mode), tmp_path, "a.tif")
    source = open_source(DataRef("folder", str(tmp_path)))
    with pytest.raises(DataError, match=rf"cat/a\.tif: .*{kind}, whose range is unknown.*skip_bad"):
        source.open("train", 0)
    with Image.open(file) as image, pytest.raises(DataError, match=kind):
        network_input(PLAIN, image)


def test_damaged_exif_data_do_not_make_an_image_unreadable_nor_warn(tmp_path):
    damaged = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHI", 9, 0x0112, 3, 7)
    file = saved(Image.fromarray(COLOURS), tmp_path, "a.webp", exif=damaged, lossless=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        source = open_source(DataRef("folder", str(tmp_path)))
        assert (np.asarray(source.open("train", 0)) == COLOURS).all()
    assert not told
    with warnings.catch_warnings(), Image.open(file) as image:
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="EXIF"):
            image.getexif()


@pytest.mark.parametrize("kind", ["large", "palette"])
def test_pillows_warnings_do_not_leak(tmp_path, monkeypatch, kind):
    palette = clear("RGBA").quantize(8)
    options = {"transparency": bytes(range(0, 256, 32))} if kind == "palette" else {}
    saved(palette, tmp_path, "a.png", **options)
    if kind == "large":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE - 1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        source = open_source(DataRef("folder", str(tmp_path)))
        source.open("train", 0)
        source.images("train", np.arange(2), SIDE)
    assert not told
