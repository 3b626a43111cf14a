"""The JSON Schema of the AppSpec file, for editors; made from the parser's own table."""

from __future__ import annotations

from typing import Any

from agent.appspec.table import APPSPEC, EXTENSION_PREFIX, Table

_NOTHING = {"type": "null"}


def json_schema() -> dict[str, Any]:
    """Return the schema; what it refuses, the parser reports as an error or a warning."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "AppSpec file for EC2 and on-premises deployments to Linux",
        **_map(APPSPEC),
    }


def _map(table: Table) -> dict[str, Any]:
    properties = {}
    for name, key in table.items():
        values = _expanded(key.schema)
        properties[name] = {"description": key.meaning, **(values if key.needed else {"anyOf": [values, _NOTHING]})}
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name, key in table.items() if key.needed],
        "patternProperties": {f"^{EXTENSION_PREFIX}": {}},
        "additionalProperties": False,
    }


def _expanded(schema: Any) -> Any:  # noqa: ANN401 - a JSON document
    """Return a schema of the table with its maps written out."""
    if isinstance(schema, list):
        return [_expanded(part) for part in schema]
    if not hasattr(schema, "items"):
        return schema
    if "map" in schema:
        return _map(schema["map"])
    return {name: _expanded(part) for name, part in schema.items()}
