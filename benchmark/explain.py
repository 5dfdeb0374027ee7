"""What is wrong with options, in words: where, what was found, what is allowed, what was probably meant."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic_core import ErrorDetails, core_schema

from benchmark.document import Node, Place, Problems, path_text
from benchmark.errors import near_match
from benchmark.options import Budget, Options

Schema = dict[str, Any]
_FRACTIONS = {choice.get("pattern") for choice in TypeAdapter(Budget).json_schema()["anyOf"]} - {None}
Location = tuple[str | int, ...]

_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}
# A validator's own sentence is better than any that could be made from the type.
_BY_TYPE = frozenset(typing.get_args(core_schema.ErrorType)) - {"value_error", "assertion_error"}


def explain(
    error: ValidationError,
    options_type: type[Options],
    node: Node,
    path: Sequence[str],
    problems: Problems,
    *,
    noun: str = "option",
    owner: str = "",
) -> None:
    """Add a sentence per wrong option to `problems`.

    Args:
        error: what pydantic found while it read `node` as `options_type`.
        options_type: the type of the options.
        node: the options as written.
        path: where `node` stands in its document.
        problems: receives the sentences.
        noun: what an entry is called.
        owner: whose options they are, such as `attack 'pgd'`.
    """
    schema = options_schema(options_type)
    by_path: dict[Location, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        by_path.setdefault(_tree_path(node, detail), []).append(detail)
    for place, details in by_path.items():
        by_type = all(detail["type"] in _BY_TYPE for detail in details)
        # Each alternative of a union complains; where one accepted the shape, only its inner complaints help.
        if by_type and any(len(other) > len(place) and other[: len(place)] == place for other in by_path):
            continue
        types = {detail["type"] for detail in details}
        name = str(place[-1]) if place else ""
        found = _descend(node, place)
        shown = path_text((*path, *place))
        if found is not None and found.refused:
            continue
        if types == {"missing"}:
            meaning = next(
                (f" ({_one_line(s['description'])})" for s in schemas_at(schema, place) if "description" in s), ""
            )
            holder = _descend(node, place[:-1])
            problems.add(
                (holder or node).where,
                f"{shown}: missing: {owner or 'it'} needs the {noun} {name!r}{meaning}.",
            )
        elif types <= _UNKNOWN_KEY:
            inside = [known for s in schemas_at(schema, place[:-1]) for known in s.get("properties", {})]
            problems.add(
                (found or node).where, f"{shown}: {unknown_key(noun, name, inside, f' of {owner}' if owner else '')}"
            )
        elif any(detail["type"] in _BY_TYPE for detail in details):
            wrong = found or node
            allowed = schemas_at(schema, place)
            words = in_words(allowed, schema) or "; ".join(detail["msg"] for detail in details)
            advice = near_match(wrong.value, texts(allowed)) if isinstance(wrong.value, str) else ""
            if wrong.is_scalar and not isinstance(wrong.value, str | None) and _allows_text(allowed):
                advice = " Quote it to make it a text."
            problems.add(wrong.where, f"{shown}: found {wrong.found()}, allowed: {words}.{advice}")
        else:
            for detail in details:
                culprit, culprit_path = _culprit(found or node, place, detail)
                text = str(detail.get("ctx", {}).get("error", detail["msg"])).rstrip(".")
                prefix = "" if isinstance(culprit.value, dict) else f"found {culprit.found()}: "
                end = "" if text.endswith("?") else "."
                problems.add(_latest(culprit), f"{path_text((*path, *culprit_path))}: {prefix}{text}{end}")


def unknown_key(noun: str, found: str, allowed: Iterable[str], owner: str = "") -> str:
    """Return the sentence that refuses an unknown key and lists the known ones."""
    names = sorted(allowed)
    return f"unknown {noun} {found!r}{owner}.{near_match(found, names)} Allowed: {', '.join(names) or 'none'}."


def _tree_path(node: Node, detail: ErrorDetails) -> Location:
    """Return where in the document the error is; pydantic's location also names alternatives of unions."""
    path: list[str | int] = []
    location = detail["loc"]
    for index, step in enumerate(location):
        inner = _descend(node, (step,))
        if inner is not None:
            path.append(step)
            node = inner
        elif index == len(location) - 1 and detail["type"] == "missing":
            path.append(step)
    return tuple(path)


def _descend(node: Node, path: Location) -> Node | None:
    for step in path:
        inner: Node | None = None
        if isinstance(node.value, dict) and isinstance(step, str):
            inner = node.value.get(step)
        elif isinstance(node.value, tuple) and isinstance(step, int) and step < len(node.value):
            inner = node.value[step]
        if inner is None:
            return None
        node = inner
    return node


def _culprit(node: Node, path: Location, detail: ErrorDetails) -> tuple[Node, Location]:
    """Return the entry that a validator of the whole mapping complains about, where its context names just one."""
    if isinstance(node.value, dict):
        named = [key for key in detail.get("ctx", {}) if key in node.value]
        if len(named) == 1:
            return node.value[named[0]], (*path, named[0])
    return node, path


def _latest(node: Node) -> Place:
    """Return the place of a node, or of the part of it that was changed from outside its file."""
    parts = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, tuple) else ()
    return max([node.where, *(_latest(part) for part in parts)], key=lambda place: place.rank)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _allows_text(schemas: Iterable[Schema]) -> bool:
    return any(schema.get("type") == "string" and not _values(schema) for schema in schemas)


def options_schema(options_type: type[Options], prefix: str = "") -> Schema:
    """Return the JSON Schema of an options type; `prefix` stands before the names of its definitions.

    An options type that holds a type without a schema becomes a mapping that allows anything.
    """
    try:
        schema = options_type.model_json_schema(ref_template=f"#/$defs/{pointer(prefix)}{{model}}")
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return {"type": "object"}
    if "$ref" in schema:  # a type that contains itself
        definition = schema["$defs"][schema["$ref"].rpartition("/")[2].removeprefix(pointer(prefix))]
        schema = {"$defs": schema["$defs"], **definition}
    if prefix:
        schema["$defs"] = {f"{prefix}{name}": inner for name, inner in schema.get("$defs", {}).items()}
    return schema


def pointer(name: str) -> str:
    """Return `name` as it stands in a JSON pointer inside a URI."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~")


def schemas_at(root: Schema, path: Iterable[str | int]) -> list[Schema]:
    """Return the schemas that `root` has for the value at `path`: one per alternative, none where it has no say."""
    found = alternatives(root, root)
    for step in path:
        inner: list[Schema] = []
        for schema in found:
            if isinstance(step, int):
                fixed = schema.get("prefixItems", [])
                items = fixed[step] if step < len(fixed) else schema.get("items")
                inner.append(items if isinstance(items, dict) else {})
            elif step in schema.get("properties", {}):
                inner.append(schema["properties"][step])
            elif isinstance(schema.get("additionalProperties"), dict):
                inner.append(schema["additionalProperties"])
        found = [alternative for schema in inner if schema for alternative in alternatives(schema, root)]
    return found


def alternatives(schema: Schema, root: Schema) -> list[Schema]:
    """Return the alternatives of a schema, with references to the definitions of `root` followed."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return alternatives(root.get("$defs", {}).get(name, {}), root)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return [found for choice in schema[key] for found in alternatives(choice, root)]
    return [schema]


def in_words(schemas: Sequence[Schema], root: Schema, depth: int = 0) -> str:
    """Return what the alternatives allow, in words: `a whole number (at least 1), or null`."""
    if depth > 3:  # a type may contain itself
        return ""
    words = list(dict.fromkeys(_in_words(schema, root, depth) for schema in schemas))
    values = [value for schema in schemas for value in _values(schema)]
    if values:
        words = [word for word in words if word] + [_listed(values)]
    return ", or ".join(word for word in words if word)


def texts(schemas: Iterable[Schema]) -> list[str]:
    """Return the texts that alternatives name one by one."""
    return [value for schema in schemas for value in _values(schema) if isinstance(value, str)]


def _values(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))


def _listed(values: Sequence[Any]) -> str:
    words = [repr(value) if isinstance(value, str) else str(value).lower() for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _in_words(schema: Schema, root: Schema, depth: int) -> str:
    if _values(schema):
        return ""
    kind = schema.get("type")
    if kind == "integer":
        return "a whole number" + _bounds(schema)
    if kind == "number":
        return "a number" + _bounds(schema)
    if kind == "string":
        if schema.get("pattern") in _FRACTIONS:
            return "a fraction such as 8/255"
        sizes = []
        if schema.get("minLength"):
            sizes.append(f"at least {schema['minLength']} characters")
        if "maxLength" in schema:
            sizes.append(f"at most {schema['maxLength']} characters")
        if "pattern" in schema:
            sizes.append(f"of the form {schema['pattern']}")
        return "a text" + (f" ({', '.join(sizes)})" if sizes else "")
    if kind == "boolean":
        return "true or false"
    if kind == "null":
        return "null"
    if kind == "array":
        return _list_in_words(schema, root, depth)
    if kind == "object":
        if schema.get("properties"):
            return f"a mapping with the options {', '.join(schema['properties'])}"
        values = schema.get("additionalProperties")
        inner = in_words(alternatives(values, root), root, depth + 1) if isinstance(values, dict) else ""
        return "a mapping" + (f" of names to {inner}" if inner else "")
    return "anything"


def _list_in_words(schema: Schema, root: Schema, depth: int) -> str:
    if schema.get("prefixItems"):
        parts = [in_words(alternatives(item, root), root, depth + 1) for item in schema["prefixItems"]]
        return f"a list of {len(parts)} ({'; '.join(dict.fromkeys(parts))})"
    items = schema.get("items")
    inner = in_words(alternatives(items, root), root, depth + 1) if isinstance(items, dict) else ""
    size = ""
    if "minItems" in schema:
        size += f", at least {schema['minItems']} long"
    if "maxItems" in schema:
        size += f", at most {schema['maxItems']} long"
    return "a list" + (f" (each: {inner})" if inner else "") + size


_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}


def _bounds(schema: Schema) -> str:
    words = [f"{word} {str(schema[key]).removesuffix('.0')}" for key, word in _BOUNDS.items() if key in schema]
    return f" ({', '.join(words)})" if words else ""
