"""Reads YAML files that people write, and turns them into typed and checked data.

Only plain data is accepted. Tags, aliases (a small file with them can fill the memory), repeated keys and unknown keys
are errors. The message for an unknown key names the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from nxt.errors import ConfigError, UsageError, suggestion
from nxt.files import nearest

if typing.TYPE_CHECKING:
    import yaml

_MAX_BYTES = 1 << 20
_MAX_INT = 10**18
T = TypeVar("T")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Reads a YAML file that contains one mapping of plain data.

    Raises:
        ConfigError: if the file cannot be read, or contains something else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than 1 MiB; this is no nxt file")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{nearest(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, where a YAML file was expected") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; a YAML file was expected") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """Parses YAML text that contains one mapping; `where` names the source in errors."""
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
        """PyYAML's safe loader without tags, aliases and repeated keys."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            if self.check_event(yaml.AliasEvent):
                raise yaml.composer.ComposerError(None, None, "aliases are not allowed", event.start_mark)
            if getattr(event, "tag", None) is not None:
                raise yaml.composer.ComposerError(None, None, f"tag {event.tag!r} is not allowed", event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in seen:
                    problem = f"key {key.value!r} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

        def refuse_old_number(self, node: yaml.ScalarNode) -> None:
            """YAML 1.1 reads 010 as 8 and 1:30 as 90, YAML 1.2 as a 10 and a word: whoever writes them is misread."""
            digits = node.value.lstrip("+-")
            if ":" in digits or (digits[:1] == "0" and digits[1:2] in set("01234567_")):
                problem = f"{node.value[:40]!r} would be read as a number of base {60 if ':' in digits else 8}"
                raise yaml.constructor.ConstructorError(None, None, f"{problem}; write it plainly", node.start_mark)

        def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
            if ":" in node.value:
                self.refuse_old_number(node)
            return float(super().construct_yaml_float(node))

        def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
            self.refuse_old_number(node)
            value = int(super().construct_yaml_int(node))
            if abs(value) > _MAX_INT:
                raise yaml.constructor.ConstructorError(None, None, "the number is too large", node.start_mark)
            return value

    PlainLoader.add_constructor("tag:yaml.org,2002:int", PlainLoader.construct_yaml_int)
    PlainLoader.add_constructor("tag:yaml.org,2002:float", PlainLoader.construct_yaml_float)
    return PlainLoader


def check_keys(data: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    """Raises ConfigError if `data` is no mapping or has an unknown key; the message names the nearest known key."""
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: a mapping was expected, not {data!r}")
    names = list(known)
    for key in data:
        if key not in names:
            near = suggestion(str(key), names) or f"; known keys: {', '.join(names)}"
            raise ConfigError(f"{where}: unknown key {key!r}{near}")


def from_mapping(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Builds a dataclass from a mapping, converting and checking each value by its annotation.

    Fields may be bool, int, float, str, optional, homogeneous tuples of these, and nested dataclasses.

    Raises:
        ConfigError: for unknown or missing keys, and for values of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    nested = {path.rpartition(".")[2]: path for path in key_paths(cls) if "." in path}
    for key in data if isinstance(data, Mapping) else ():
        if key not in fields and key in nested:
            raise ConfigError(f"{where}: unknown key {key!r}; did you mean {nested[key]!r}?")
    check_keys(data, fields, where)
    hints = typing.get_type_hints(cls)
    values = {key: _convert(value, hints[key], f"{where}: {key}") for key, value in data.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"{where}: key {name!r} is missing")
    return cls(**values)


def key_paths(cls: type) -> Iterator[str]:
    """Yields the keys of a dataclass, and those of nested dataclasses with dots."""
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
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        with suppress(ValueError):
            value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        noun = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}[hint]
        raise ConfigError(f"{where}: {noun} was expected, not {value!r}")
    return value


def check_record(data: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    """Raises ConfigError for the first key of a file written by nxt that is missing or of another type."""
    for key, kind in kinds.items():
        if key not in data or not isinstance(data[key], kind) or (isinstance(data[key], bool) and kind is not bool):
            problem = "is of a wrong kind" if key in data else "is missing"
            raise ConfigError(f"{where}: damaged; {key!r} {problem}")


def require(condition: bool, where: str, problem: str) -> None:
    """Raises ConfigError(`where: problem`) unless the condition holds."""
    if not condition:
        raise ConfigError(f"{where}: {problem}")


def to_mapping(value: Any) -> Any:
    """Returns a dataclass as plain data for YAML or JSON: nested dataclasses become mappings, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_mapping(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy of `base` in which `changes` replace values; nested mappings are merged in the same way."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested values as one level, with keys such as `recipe.lr`; what is None or empty is left out."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None and value != "" and value != []:
            found[f"{prefix}{key}"] = value
    return found


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Returns plain data as YAML text; keys keep their order, and short lists stand on one line."""
    import yaml

    return yaml.safe_dump(dict(data), sort_keys=False, default_flow_style=None, width=100, allow_unicode=True)


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Parses settings such as `proxy.epochs=3` into nested mappings such as `{"proxy": {"epochs": 3}}`.

    Raises:
        ConfigError: if a setting has another form.
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
    """Raises UsageError for the first of the named fields of a dataclass whose value is not its default."""
    fields = {field.name: field for field in dataclasses.fields(options)}
    for name in names:
        field = fields[name]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if getattr(options, name) != default:
            raise UsageError(f"`{name}` {why}")
