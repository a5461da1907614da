"""YAML in, typed and checked data out: the one place where files written by people are read.

Only plain data is accepted. Tags, aliases (which let a small file explode in memory) and repeated
keys are errors; so are unknown keys, with the nearest valid key named.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nxt.errors import ConfigError, UsageError, suggestion

if typing.TYPE_CHECKING:
    import yaml

_MAX_BYTES = 1 << 20
_MAX_INT = 10**18
T = TypeVar("T")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Reads a YAML file that holds one mapping of plain data.

    Raises:
        ConfigError: if the file cannot be read, or is not such a file.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than 1 MiB; this is no nxt file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, where a YAML file was expected") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; a YAML file was expected") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parses YAML text that holds one mapping; `where` names its origin in errors."""
    import yaml

    try:
        data = yaml.load(text, Loader=_plain_loader())
    except RecursionError:
        raise ConfigError(f"{where}: nested too deeply; this is no nxt file") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{where}:{line} not readable as plain YAML ({problem})") from None
    if data is None:
        raise ConfigError(f"{where}: empty; a YAML mapping was expected")
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise ConfigError(f"{where}: a mapping of names to values was expected")
    return data


def _plain_loader() -> type[yaml.SafeLoader]:
    import yaml

    class PlainLoader(yaml.SafeLoader):
        """PyYAML's safe loader, minus tags, aliases and repeated keys."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, "aliases are not allowed", event.start_mark)
            if getattr(self.peek_event(), "tag", None) is not None:  # type: ignore[no-untyped-call]
                event = self.peek_event()  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, f"tag {event.tag!r} is not allowed", event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice", key.start_mark
                    )
                if isinstance(key, yaml.ScalarNode):
                    seen.add(key.value)
            return super().construct_mapping(node, deep)

        def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
            value = int(super().construct_yaml_int(node))
            if abs(value) > _MAX_INT:
                raise yaml.constructor.ConstructorError(None, None, "the number is too large", node.start_mark)
            return value

    PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)
    return PlainLoader


def check_keys(data: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raises ConfigError for the first key that is not known, naming the nearest one that is; or if there are none."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: a mapping was expected, not {data!r}")
    names = list(known)
    for key in data:
        if key not in names:
            near = suggestion(str(key), names) or f"; known keys: {', '.join(names)}"
            raise ConfigError(f"{where}: unknown key {key!r}{near}")


def from_mapping(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Builds a dataclass from a mapping, converting and checking each value by its annotation.

    Understood are bool, int, float, str, optional ones, homogeneous tuples of them, and nested dataclasses.

    Raises:
        ConfigError: for unknown or missing keys and values of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    deeper = {path.rpartition(".")[2]: path for path in key_paths(cls) if "." in path}
    for key in data if isinstance(data, Mapping) else ():
        if key not in fields and key in deeper:
            raise ConfigError(f"{where}: unknown key {key!r}; did you mean {deeper[key]!r}?")
    check_keys(data, fields, where)
    hints = typing.get_type_hints(cls)
    values = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in data.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{where}: key {name!r} is missing")
    return cls(**values)


def key_paths(cls: type) -> Iterator[str]:
    """Yields a dataclass's keys, and with dots those of the dataclasses in it."""
    for name, hint in typing.get_type_hints(cls).items():
        yield name
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from (f"{name}.{inner}" for inner in key_paths(hint))


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: a mapping was expected, not {value!r}")
        return from_mapping(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(value, next(arg for arg in args if arg is not type(None)), where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where}: a list was expected, not {value!r}")
        return tuple(_convert(item, args[0], where) for item in value)
    if hint is float and isinstance(value, str):  # YAML 1.1 takes 1e-4 for a string
        try:
            value = float(value)
        except ValueError:
            pass
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        noun = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}[hint]
        raise ConfigError(f"{where}: {noun} was expected, not {value!r}")
    return value


def check_record(data: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    """Checks what nxt itself once wrote: raise ConfigError for the first key that is missing or of another type."""
    for key, kind in kinds.items():
        if key not in data or not isinstance(data[key], kind) or (isinstance(data[key], bool) and kind is not bool):
            problem = "is of a wrong kind" if key in data else "is missing"
            raise ConfigError(f"{where}: damaged; {key!r} {problem}")


def require(condition: bool, where: str, problem: str) -> None:
    """Raises ConfigError(`where: problem`) unless the condition holds."""
    if not condition:
        raise ConfigError(f"{where}: {problem}")


def to_mapping(value: Any) -> Any:
    """Turns a dataclass into plain data for YAML or JSON: nested ones become mappings, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_mapping(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns base with the changes laid over it, mapping by mapping."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Renders plain data as YAML in the given order, short lists on one line."""
    import yaml

    return yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Reads settings such as `proxy.epochs=3` into nested mappings: `{"proxy": {"epochs": 3}}`.

    Raises:
        ConfigError: if a setting does not have that form.
    """
    result: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        keys = name.strip().split(".")
        if not (equals and text.strip() and all(keys)):
            raise ConfigError(f"`settings` {setting!r}: write key=value, such as lr=0.05 or proxy.epochs=3")
        value: Any = parse_yaml(f"value: {text}", f"`settings` {setting}")["value"]
        for key in reversed(keys):
            value = {key: value}
        result = merged(result, value)
    return result


def refuse_given(options: Any, names: Iterable[str], why: str) -> None:
    """Raises UsageError for the first of some fields of a dataclass that has another value than its default."""
    defaults = {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(options)
    }
    for name in names:
        if getattr(options, name) != defaults[name]:
            raise UsageError(f"`{name}` {why}")
