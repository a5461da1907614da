"""Checkpoints: what is saved comes back; what is damaged, hostile or of another kind is refused in words."""

import pickle
import zipfile

import pytest
import torch
from PIL import Image

from nxt.arch.spec import ArchSpec
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError, UnreadableError
from nxt.models.network import build
from nxt.models.tensors import read_tensors
from nxt.train.checkpoint import FORMAT, Checkpoint, read, save
from nxt.train.recipe import Recipe
from nxt.train.trained import load

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 4, "depths": [1, 1], "widths": [16, 32], "cardinality": 2, "base_width": 2}
)
OTHER = SPEC.replace(depths=(2, 1))


def make(spec=SPEC, classes=("a", "b", "c")):
    torch.manual_seed(3)
    network = build(spec, len(classes))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    return Checkpoint(
        spec=spec, classes=classes, data=DataRef("digits"), identity="abc",
        preprocess=Preprocess(size=8, crop=0.5, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
        recipe=Recipe(epochs=3, batch=8, lr=0.1, milestones=(0.5,)), seed=7, accuracies={"raw": 0.625},
        state={"epoch": 2, "step": 0, "weights": {"raw": network.state_dict()}, "optimizer": optimizer.state_dict()},
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "a.pt", make())
    return tmp_path / "a.pt"


def content_of(path):
    return torch.load(path, weights_only=True)


def test_a_checkpoint_comes_back_as_it_was(path):
    first, again = make(), read(path)
    for name in ("spec", "classes", "data", "identity", "preprocess", "recipe", "seed", "accuracies"):
        assert getattr(again, name) == getattr(first, name)
    assert again.epoch == 2
    before, after = first.state["weights"]["raw"], again.state["weights"]["raw"]
    assert before.keys() == after.keys() and all(torch.equal(before[k], v) for k, v in after.items())
    buffers = [s["momentum_buffer"] for s in first.state["optimizer"]["state"].values()]
    found = [s["momentum_buffer"] for s in again.state["optimizer"]["state"].values()]
    assert buffers and all(torch.equal(a, b) for a, b in zip(buffers, found, strict=True))


def test_a_loaded_network_is_ready_for_evaluation_with_the_same_weights(path):
    network = load(path)
    assert not network.training and network.spec == SPEC and network.num_classes == 3
    assert all(torch.equal(make().state["weights"]["raw"][k], v) for k, v in network.state_dict().items())
    import nxt

    images = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(network(images), nxt.load(str(path))(images))


def test_a_loaded_network_knows_its_classes_and_how_an_image_becomes_its_input(path):
    network, preprocess = load(path), make().preprocess
    given = network.transform(Image.new("L", (40, 20), 128))
    wanted = (128 / 255 - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)
    assert given.dtype is torch.float32 and torch.allclose(given, wanted[:, None, None].expand(3, 8, 8))
    assert network.classes == ("a", "b", "c") and network(given[None]).shape == (1, 3)


def test_a_run_directory_stands_for_its_last_checkpoint(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    save(tmp_path / "run" / "checkpoints" / "last.pt", make())
    assert read(tmp_path / "run").spec == SPEC


def test_saving_replaces_and_leaves_nothing_beside(path):
    save(path, make(OTHER))
    assert read(path).spec == OTHER
    assert [p.name for p in path.parent.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("kind", ["file", "empty directory"])
def test_a_missing_checkpoint_is_said_to_be(tmp_path, kind):
    where = tmp_path if kind == "empty directory" else tmp_path / "no.pt"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read(where)


def test_a_directory_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "checkpoints" / "last.pt").mkdir(parents=True)
    with pytest.raises(CheckpointError):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(UnreadableError, match=f"{name}: no such checkpoint"):
        read(path)
    path.symlink_to(path)
    with pytest.raises(UnreadableError, match=rf"{name}: cannot be read \(Too many levels of symbolic links\)"):
        read(path)


@pytest.mark.parametrize("share", [0, 0.0005, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999, 0.9999])
def test_a_truncated_checkpoint_is_refused(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"a\.pt: (truncated or damaged|holds more than)"):
        read(path)


def garbage():
    generator = torch.Generator().manual_seed(0)
    noise = bytes(torch.randint(0, 256, (5000,), generator=generator, dtype=torch.uint8).tolist())
    yield from (b"", b"x", b"\x00" * 100, b"hello world\n" * 50, noise, b"PK\x03\x04", b"PK\x03\x04" + noise)
    yield from (b"\x80\x02" + noise[:60], b"\x80\x02.", b"\x80\x02K", b"\x80\x02}", b"\x80\x02X\xff\xff\xff\x7f", b"(")
    yield from (bytes([n]) + noise[n : n + 40] for n in range(0, 256, 3))
    yield from (b"\x80\x02" + bytes([n]) + noise[n : n + 40] for n in range(0, 256, 3))
    yield from (pickle.dumps(value, 2) for value in (1, "x", [], {}, {"format": 1}, None, (1, 2)))


def test_garbage_is_refused(tmp_path):
    escaped = {}
    for index, content in enumerate(garbage()):
        file = tmp_path / f"{index}.pt"
        file.write_bytes(content)
        try:
            read(file)
        except CheckpointError as error:
            if f"{index}.pt" not in str(error) or "\n" in str(error):
                escaped[content[:12]] = str(error)
        except Exception as error:
            escaped[content[:12]] = repr(error)[:80]
    assert not escaped


def test_bytes_changed_anywhere_are_refused_or_harmless(path):
    whole, expected = bytearray(path.read_bytes()), load(path).state_dict()
    escaped = {}
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        changed = whole.copy()
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            found = read(path).network().state_dict()
            if not all(torch.equal(expected[key], value) for key, value in found.items()):
                escaped[place] = "other weights"
        except CheckpointError:
            pass
        except Exception as error:
            escaped[place] = repr(error)[:100]
    assert not escaped


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("form", ["torch", "torch, inside", "pickle", "legacy torch"])
def test_a_hostile_file_is_refused_and_its_code_not_run(path, form):
    proof = path.with_name("executed")
    content = {**content_of(path), "extra": Hostile(proof)} if form == "torch, inside" else Hostile(proof)
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, 2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy torch")
    with pytest.raises(CheckpointError, match="holds more than tensors and plain data"):
        read(path)
    assert not proof.exists()


def test_a_whole_pickled_module_is_refused(path):
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        read(path)


@pytest.mark.parametrize("version", [0, FORMAT + 1, "1", None])
def test_another_format_is_refused(path, version):
    torch.save({**content_of(path), "format": version}, path)
    with pytest.raises(
        CheckpointError, match=r"format .* is not known to this version of nxt|'format' is of a wrong kind"
    ):
        read(path)


@pytest.mark.parametrize(
    "key", ["format", "arch", "classes", "data", "identity", "preprocess", "recipe", "seed", "accuracies", "state"]
)
def test_a_checkpoint_without_one_of_its_parts_is_refused(path, key):
    content = content_of(path)
    del content[key]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"a\.pt: not a checkpoint of nxt.*'{key}'"):
        read(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("arch", {}), ("arch", {"depths": [1]}), ("arch", 3), ("arch", [1]), ("arch", None),
        ("recipe", {}), ("recipe", {"epochs": 0, "batch": 2, "lr": 1.0}), ("recipe", 3), ("recipe", [1]),
        ("classes", 3), ("classes", None), ("preprocess", 3), ("preprocess", {"size": 8}), ("accuracies", None),
    ],
)  # fmt: skip
def test_parts_of_a_wrong_kind_are_refused(path, key, value):
    torch.save({**content_of(path), key: value}, path)
    with pytest.raises(CheckpointError, match=r"a\.pt: not a (usable )?checkpoint"):
        read(path)


@pytest.mark.parametrize(
    "state", [{}, {"weights": {}}, {"weights": {"raw": {}}}, {"weights": {"raw": 3}}, {"weights": 3}, 3, None, []]
)
def test_weights_of_a_wrong_kind_are_refused(path, state):
    torch.save({**content_of(path), "state": state}, path)
    with pytest.raises(CheckpointError):
        load(path)


def test_the_weights_of_another_architecture_are_refused(path):
    torch.save({**content_of(path), "arch": OTHER.to_dict()}, path)
    assert read(path).spec == OTHER
    with pytest.raises(CheckpointError, match="the weights do not fit the checkpoint's architecture"):
        load(path)


def test_other_numbers_of_classes_are_refused(path):
    torch.save({**content_of(path), "classes": ["a", "b"]}, path)
    with pytest.raises(CheckpointError, match="do not fit"):
        load(path)


@pytest.mark.parametrize("content", [[1, 2], 3, "text", torch.zeros(3)])
def test_a_file_of_torch_with_something_else_is_refused(path, content):
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"a\.pt: not a checkpoint of nxt"):
        read_tensors(path)


def test_published_weights_are_no_checkpoint_and_said_so(path):
    torch.save(build(SPEC, 3).state_dict(), path)
    with pytest.raises(CheckpointError, match="not a checkpoint of nxt"):
        read(path)


def test_a_zip_that_is_no_checkpoint_is_refused(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "hello")
    with pytest.raises(CheckpointError):
        read(path)
