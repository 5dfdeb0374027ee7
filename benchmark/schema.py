"""JSON Schema (draft 2020-12) of suite files: of `suite.file.File`, with the option types of the installed plugins."""

from __future__ import annotations

import copy

from pydantic import TypeAdapter

from benchmark.errors import PluginError
from benchmark.explain import Schema, pointer, type_schema
from benchmark.options import Budget
from benchmark.plugins import Registration, Registry
from benchmark.suite import LABEL_LENGTH, RESERVED, SECTIONS
from benchmark.suite.file import File

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_LABEL: Schema = {"type": "string", "minLength": 1, "maxLength": LABEL_LENGTH, "pattern": r"\S"}


def suite_schema(registry: Registry) -> Schema:
    """Return the JSON Schema of suite files for the plugins that are installed and work."""
    schema = type_schema(File, "suite:")
    definitions, properties = schema["$defs"], schema["properties"]
    override = definitions["suite:Override"]
    changes = {name: _loose(properties[name]) for name in override["properties"]}
    for kind, section in SECTIONS.items():
        definitions[kind] = _component(registry, kind, definitions)
        properties[section] |= {
            "description": "A label of your choice for each: a plugin (`use`) and its options.",
            "propertyNames": {**_LABEL, "not": {"enum": list(RESERVED[kind])}},
            "additionalProperties": {"$ref": f"#/$defs/{kind}"},
        }
        part = {"type": "object", "properties": {"use": _use(registry, kind), "like": _like(section)}}
        changes[section] = {
            "type": ["object", "null"],
            "additionalProperties": {"anyOf": [{"type": "null"}, part]},
        }
    properties["groups"]["propertyNames"] = _LABEL
    override["properties"] = changes
    return {"$schema": DRAFT, **schema, "title": "unmask-bench suite"}


def _component(registry: Registry, kind: str, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a component of `kind`, and add those of its plugins to `definitions`."""
    choices = []
    for registration in registry.all(kind):
        try:
            options_type = registration.options_type()
        except PluginError:
            continue
        name = f"{kind}:{registration.name}"
        schema = type_schema(options_type, f"{name}:")
        definitions.update(schema.pop("$defs", {}))
        if kind == "attack" and "eps" in schema.get("properties", {}):
            schema["properties"]["eps"] = sweepable(schema["properties"]["eps"])
        schema.setdefault("properties", {})["use"] = {"const": registration.name}
        if registration.summary:
            schema["description"] = registration.summary
        definitions[name] = schema
        choices.append(
            {
                "if": {"properties": {"use": {"const": registration.name}}, "required": ["use"]},
                "then": {"$ref": f"#/$defs/{pointer(name)}"},
            }
        )
    schema = {
        "type": "object",
        "oneOf": [{"required": ["use"]}, {"required": ["like"]}],
        "properties": {"use": _use(registry, kind), "like": _like(SECTIONS[kind])},
    }
    return {**schema, "allOf": choices} if choices else schema


def sweepable(eps: Schema) -> Schema:
    """Return the schema of an attack's `eps` with a list of budgets beside one: a suite makes an attack of each."""
    budgets = {"type": "array", "items": TypeAdapter(Budget).json_schema(), "minItems": 1, "uniqueItems": True}
    beside = {key: value for key, value in eps.items() if key in ("description", "title", "default")}
    return {**beside, "anyOf": [{key: value for key, value in eps.items() if key not in beside}, budgets]}


def _like(section: str) -> Schema:
    description = (
        f"Instead of `use`: label of one of {section}, whose plugin and options are taken, but for what stands here."
    )
    return {"description": description, "type": ["string", "number", "boolean"]}


def _use(registry: Registry, kind: str) -> Schema:
    names = [
        {"const": registration.name, **({"description": registration.summary} if registration.summary else {})}
        for registration in registry.all(kind)
        if _works(registration)
    ]
    schema: Schema = {"description": f"Name of the plugin ({kind}).", "type": "string"}
    return {**schema, "oneOf": names} if names else schema


def _works(registration: Registration) -> bool:
    try:
        registration.options_type()
    except PluginError:
        return False
    return True


def _loose(schema: Schema) -> Schema:
    """Return a schema of which a part may be given, or null."""
    schema = copy.deepcopy(schema)
    for key in ("required", "minItems"):
        schema.pop(key, None)
    return {"anyOf": [schema, {"type": "null"}]}
