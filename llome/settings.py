"""Settings files: YAML read, and checked against a JSON schema of llome/schema, in words that name file, key and remedy.

Imports nothing heavy: the Snakefile stands on it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from llome.errors import ConfigError
from llome.provenance import read_json

SCHEMAS = Path(__file__).resolve().parent / "schema"
_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_OF = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


def check_shape(settings: Any, schema: str, where: str, *, partial: bool = False) -> None:
    """Check settings against llome/schema/{schema}.json. Raises ConfigError on the first fault.

    Settings that are `partial` may lack keys; others complete them.
    """
    errors = list(Draft202012Validator(read_json(SCHEMAS / f"{schema}.json")).iter_errors(settings))
    if partial:
        errors = [error for error in errors if error.validator != "required" or error.absolute_path]
    if errors:
        # an unknown key before all else: a misspelt key is also a missing one
        first = min(
            errors, key=lambda error: (error.validator != "additionalProperties", [str(p) for p in error.absolute_path])
        )
        raise ConfigError(f"{where}: {_explain(first)}")


def describe(schema: str, key: str) -> str:
    """What llome/schema/{schema}.json says of a key."""
    return read_json(SCHEMAS / f"{schema}.json")["properties"][key]["description"]


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file. Raises ConfigError, naming the file and the line, where it is missing or no YAML."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except OSError as err:
        raise ConfigError(f"cannot read {path}: {err.strerror}") from err
    except (UnicodeDecodeError, yaml.YAMLError) as err:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(err).split())}") from err


def nearest(name: str, known: Iterable[str]) -> str:
    """`", did you mean 'x'?"` for the known name most like `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _explain(error: ValidationError) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    lead = f"{place}: " if place else ""
    value, rule = error.instance, error.validator_value
    about = f" ({error.schema['description']})" if "description" in error.schema else ""
    match error.validator:
        case "additionalProperties":
            known = error.schema["properties"]
            unknown = next(key for key in value if key not in known)
            hint = nearest(str(unknown), known) or f"; the keys are {', '.join(known)}"
            return f"{lead}unknown key {unknown!r}{hint}"
        case "required":
            missing = next(key for key in rule if key not in value)
            described = (
                error.schema.get("properties", {})
                .get(missing, {})
                .get("description", "an oracle of this kind needs it")
            )
            return f"{lead}the key {missing!r} is missing: {described}"
        case "type":
            wanted = " or ".join(_KINDS[kind] for kind in ([rule] if isinstance(rule, str) else rule))
            return f"{lead}{value!r} is {_OF.get(type(value), 'of another type')}, expected {wanted}{about}"
        case "enum":
            return f"{lead}{value!r} is none of {', '.join(map(str, rule))}{about}"
        case "minItems":
            return f"{lead}an empty list, expected at least one entry{about}"
        case "minProperties" if "maxProperties" not in error.schema:
            return f"{lead}an empty mapping, expected at least one entry{about}"
        case "minProperties" | "maxProperties":
            return f"{lead}{value!r}: expected one objective with its value, such as sft: 5{about}"
        case "minimum":
            return f"{lead}{value!r} is too small, expected at least {rule}{about}"
        case "exclusiveMinimum":
            return f"{lead}{value!r} is too small, expected more than {rule}{about}"
        case "exclusiveMaximum":
            return f"{lead}{value!r} is too large, expected less than {rule}{about}"
        case "anyOf" if "propertyNames" in error.absolute_schema_path:
            return f"{lead}the key {value!r} is of no use here: an oracle of this kind has none"
        case "pattern":
            return f"{lead}{value!r} is no name that can be used here{about or ': lower-case letters only'}"
    return f"{lead}{error.message}"
