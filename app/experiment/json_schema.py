"""JSON Schema of experiment files, for editors: `python -m app.experiment.json_schema` prints it.

`experiment.schema.json` beside this module is what it prints; an editor takes it by the first line
of a TOML file, `#:schema PATH`.
"""

import json
import sys
from pathlib import Path
from typing import Any

from app.experiment.schema import Experiment

FILE = Path(__file__).with_name("experiment.schema.json")


def json_schema() -> dict[str, Any]:
    """Return the schema of a file, which may leave open what built-in experiments or flags say."""
    schema = _plain(Experiment.model_json_schema())
    del schema["required"], schema["properties"]["folder"]
    del schema["$defs"]["ScriptTable"]["required"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An experiment of Tuneport",
        **schema,
    }


def text() -> str:
    """Return the schema as the file has it."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _plain(schema: Any) -> Any:
    """Drop what TOML has no use for: null, and titles that repeat the key."""
    if isinstance(schema, list):
        return [_plain(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {
        key: _plain(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and (key, value) != ("default", None)
    }
    if "anyOf" in plain:
        others = [kind for kind in plain["anyOf"] if kind != {"type": "null"}]
        plain["anyOf"] = others
        if len(others) == 1:
            del plain["anyOf"]
            plain = {**others[0], **plain}
    return plain


if __name__ == "__main__":
    sys.stdout.write(text())
