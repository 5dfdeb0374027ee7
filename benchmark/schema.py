"""JSON Schema (draft 2020-12) of suite files, from the option types of the installed plugins."""

from __future__ import annotations

import copy

from pydantic import TypeAdapter

from benchmark.errors import PluginError
from benchmark.explain import Schema, options_schema, pointer
from benchmark.names import KNOWLEDGE
from benchmark.options import Budget
from benchmark.plugins import Registration, Registry
from benchmark.suite import LABEL_LENGTH, RESERVED, SECTIONS, USUAL_KNOWLEDGE, Head

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def suite_schema(registry: Registry) -> Schema:
    """Return the JSON Schema of suite files for the plugins that are installed and work."""
    head = options_schema(Head, "suite:")
    definitions: dict[str, Schema] = head.pop("$defs", {})
    label = {"type": "string", "minLength": 1, "maxLength": LABEL_LENGTH, "pattern": r"\S"}
    reference = {"type": ["string", "number", "boolean"]}  # an editor reads the label 8 as a number
    labels = {
        "description": "all, a label, or a list of labels",
        "anyOf": [reference, {"type": "array", "items": reference, "uniqueItems": True}],
    }
    knowledge = {"enum": list(KNOWLEDGE)}
    axes: dict[str, Schema] = dict.fromkeys(SECTIONS.values(), labels)
    sections: dict[str, Schema] = {}
    for kind, section in SECTIONS.items():
        definitions[kind] = _component(registry, kind, definitions)
        sections[section] = {
            "description": "A label of your choice for each: a plugin (`use`) and its options.",
            "type": "object",
            "propertyNames": {**label, "not": {"enum": list(RESERVED[kind])}},
            "additionalProperties": {"$ref": f"#/$defs/{kind}"},
        }
    substitute = [
        reference,
        {
            "type": "object",
            "properties": {"model": reference, "defense": reference},
            "required": ["model"],
            "additionalProperties": False,
        },
    ]
    entry = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **{axis: {**schema, "default": "all"} for axis, schema in axes.items()},
            "knowledge": {
                "description": "What the attacker holds; a list makes an entry of each.",
                "anyOf": [knowledge, {"type": "array", "items": knowledge, "minItems": 1, "uniqueItems": True}],
                "default": USUAL_KNOWLEDGE,
            },
            "substitute": {
                "description": "What a black-box attacker trains: the label of a model, or a model and its defense; "
                "a list is attacked as one ensemble.",
                "anyOf": [*substitute, {"type": "array", "items": {"anyOf": substitute}, "minItems": 1}],
            },
            "exclude": {
                "description": "Combinations to leave out.",
                "type": "array",
                "items": {"type": "object", "properties": axes, "additionalProperties": False, "minProperties": 1},
            },
        },
    }
    properties: dict[str, Schema] = {
        **head["properties"],
        **sections,
        "grid": {"description": "What is run.", "type": "array", "minItems": 1, "items": entry},
        "groups": {
            "description": "Attacks whose worst case per image is measured together.",
            "type": "object",
            "propertyNames": label,
            "additionalProperties": labels,
        },
        "reference": {
            "description": "Published numbers to show beside the measured ones.",
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "table": {
                    "description": "CSV file, relative to the suite file, or a list of them.",
                    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
                },
                "rows": {"type": "array", "items": {"type": "object", "required": ["metric"]}},
                "stand_ins": {
                    "description": "What stands here for what a table has: its numbers are not shown beside.",
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {key: {"type": "object"} for key in (*SECTIONS.values(), "headings")},
                },
            },
        },
    }
    loose = {name: _loose(schema) for name, schema in properties.items() if name != "suite"}
    for kind, section in SECTIONS.items():
        use = {"properties": {"use": _use(registry, kind), "like": _like(section)}}
        loose[section] = {
            "type": ["object", "null"],
            "additionalProperties": {"anyOf": [{"type": "null"}, {"type": "object", **use}]},
        }
    properties["profiles"] = {
        "description": "Overrides by name, chosen by --profile; null drops a component or a key.",
        "type": "object",
        "additionalProperties": {"type": "object", "properties": loose, "additionalProperties": False},
    }
    return {
        "$schema": DRAFT,
        "title": "unmask-bench suite",
        "type": "object",
        "required": ["suite", "datasets", "models", "defenses", "grid"],
        "additionalProperties": False,
        "properties": properties,
        "$defs": definitions,
    }


def _component(registry: Registry, kind: str, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a component of `kind`, and add those of its plugins to `definitions`."""
    choices = []
    for registration in registry.all(kind):
        try:
            options_type = registration.options_type()
        except PluginError:
            continue
        name = f"{kind}:{registration.name}"
        schema = options_schema(options_type, f"{name}:")
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
