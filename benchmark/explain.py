"""What is wrong with a piece of a document, in words: where, what was found, what is allowed, what was meant."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic_core import ErrorDetails, core_schema

from benchmark.document import Node, Place, Problems, path_text
from benchmark.errors import near_match
from benchmark.options import Budget

Schema = dict[str, Any]
_FRACTIONS = {choice.get("pattern") for choice in TypeAdapter(Budget).json_schema()["anyOf"]} - {None}
Location = tuple[str | int, ...]

_UNKNOWN_KEY = {"extra_forbidden", "unexpected_keyword_argument"}
# A validator's own sentence is better than any that could be made from the type.
_BY_TYPE = frozenset(typing.get_args(core_schema.ErrorType)) - {"value_error", "assertion_error"}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def shaped(
    kind: Any, node: Node, path: Sequence[str], problems: Problems, *, texts: bool = False, noun: str, owner: str
) -> Any:
    """Return what a piece of a document says, as a value of the type `kind`; None where it is none, which is told.

    Args:
        texts: take scalars as they are written.
        path, problems, noun, owner: as for `explain`.
    """
    try:
        return _adapter(kind).validate_json(json.dumps(node.texts() if texts else node.plain()))
    except ValidationError as error:
        explain(error, kind, node, path, problems, noun=noun, owner=owner)
        return None


def explain(
    error: ValidationError,
    kind: Any,
    node: Node,
    path: Sequence[str],
    problems: Problems,
    *,
    noun: str = "option",
    owner: str = "",
) -> None:
    """Add a sentence per wrong option to `problems`.

    Args:
        error: what pydantic found while it read `node` as `kind`.
        kind: the type of the options, or of any other piece of a document.
        node: the options as written.
        path: where `node` stands in its document.
        problems: receives the sentences.
        noun: what an entry is called.
        owner: whose options they are, such as `attack 'pgd'`.
    """
    schema = type_schema(kind)
    by_path: dict[Location, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        by_path.setdefault(_tree_path(node, detail), []).append(detail)
    for place, details in by_path.items():
        by_type = all(detail["type"] in _BY_TYPE for detail in details)
        # Each alternative of a union complains; where one accepted the shape, only its inner complaints help.
        if by_type and any(len(other) > len(place) and other[: len(place)] == place for other in by_path):
            continue
        for detail in [detail for detail in details if detail["loc"][-1:] == ("[key]",)]:
            details.remove(detail)
            problems.add(node.nearest(place).where, f"{path_text((*path, *place))}: {detail['msg']}.")
        if not details:
            continue
        types = {detail["type"] for detail in details}
        name = str(place[-1]) if place else ""
        found = node.descend(place)
        shown = path_text((*path, *place))
        if found is not None and found.refused:
            continue
        if types == {"missing"}:
            meaning = next(
                (f" ({_one_line(s['description'])})" for s in schemas_at(schema, place) if "description" in s), ""
            )
            holder = node.nearest(place[:-1])
            problems.add(
                holder.where,
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
        inner = node.inner(step)
        if inner is not None:
            path.append(step)
            node = inner
        elif index == len(location) - 1 and detail["type"] == "missing":
            path.append(step)
    return tuple(path)


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


def type_schema(kind: Any, prefix: str = "") -> Schema:
    """Return the JSON Schema of a type, such as that of options; `prefix` stands before the names of its definitions.

    An options type that holds a type without a schema becomes a mapping that allows anything.
    """
    try:
        schema = _adapter(kind).json_schema(ref_template=f"#/$defs/{pointer(prefix)}{{model}}")
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
            else:
                others = (*schema.get("patternProperties", {}).values(), schema.get("additionalProperties"))
                inner += [values for values in others if isinstance(values, dict)]
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
    lists = [schema for schema in schemas if _is_list_of_the_others(schema, schemas, root)]
    words = list(dict.fromkeys(_in_words(schema, root, depth) for schema in schemas if schema not in lists))
    values = [value for schema in schemas for value in _values(schema)]
    if values:
        words.append(_listed(values))
    words += [f"a list of such{_size(schema)}" for schema in lists]
    return ", or ".join(word for word in words if word)


def _is_list_of_the_others(schema: Schema, schemas: Sequence[Schema], root: Schema) -> bool:
    items = schema.get("items")
    return isinstance(items, dict) and all(item in schemas for item in alternatives(items, root))


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
    if "format" in schema:
        return f"a {schema['format']}"
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
    return "a list" + (f" (each: {inner})" if inner else "") + _size(schema)


def _size(schema: Schema) -> str:
    words = (("minItems", "at least"), ("maxItems", "at most"))
    return "".join(f", {word} {schema[key]} long" for key, word in words if key in schema)


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
