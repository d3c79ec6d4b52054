"""Holds real answers against serve/openapi.json: the path, the status, the content type and the body's schema.

The part of JSON Schema that the document uses, with nothing taken on trust: a keyword that is not known here is an
error of the test."""

import json
import re

KNOWN = {"$ref", "type", "description", "properties", "required", "additionalProperties", "items", "enum", "minimum",
         "maximum", "multipleOf", "pattern", "nullable", "anyOf", "oneOf", "allOf", "default", "maxItems", "maxLength",
         "format"}
TYPES = {"string": str, "boolean": bool, "object": dict, "array": list}


class Document:
    def __init__(self, file):
        self.json = json.loads(file.read_text())
        self.schemas = self.json["components"]["schemas"]

    def operation(self, method, path):
        path = path.partition("?")[0]
        # A path without placeholders goes first.
        for pattern in sorted(self.json["paths"], key=lambda text: text.count("{")):
            if re.fullmatch(re.sub(r"\{[a-z]+\}", "[^/]+", pattern), path):
                return self.json["paths"][pattern].get(method.lower())
        return None

    def problems(self, method, path, answer):
        operation = self.operation(method, path)
        if operation is None:
            return [] if answer.status in (404, 405) else [f"{method} {path} is not in the document"]
        response = operation["responses"].get(str(answer.status))
        if response is None:
            return [f"status {answer.status} is not in the document"]
        found = [f"header {name} is missing" for name in response.get("headers", {}) if name not in answer.headers]
        if "content" not in response:
            return found + ([] if not answer.body else ["a body where there should be none"])
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        if kind not in response["content"]:
            return found + [f"content type {kind} is not in the document"]
        if kind != "application/json":
            return found
        return found + list(self.mismatches(response["content"][kind]["schema"], json.loads(answer.body), "$"))

    def check(self, name, value):
        found = list(self.mismatches({"$ref": f"#/components/schemas/{name}"}, value, "$"))
        assert not found, found

    def mismatches(self, schema, value, where):
        unknown = set(schema) - KNOWN
        assert not unknown, f"the check does not know {unknown}"
        if "$ref" in schema:
            yield from self.mismatches(self.schemas[schema["$ref"].rpartition("/")[2]], value, where)
            return
        if value is None and schema.get("nullable"):
            return
        for part in schema.get("allOf", []):
            yield from self.mismatches(part, value, where)
        for choice, least in (("anyOf", 1), ("oneOf", 1)):
            if choice in schema:
                fits = [part for part in schema[choice] if not list(self.mismatches(part, value, where))]
                if len(fits) < least or (choice == "oneOf" and len(fits) != 1):
                    yield f"{where}: fits {len(fits)} of {choice}"
        yield from self.type_mismatches(schema, value, where)
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is not of {schema['enum']}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where}: {value!r} is not {schema['pattern']}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if value < schema.get("minimum", value) or value > schema.get("maximum", value):
                yield f"{where}: {value} is out of range"
            if "multipleOf" in schema and value % schema["multipleOf"]:
                yield f"{where}: {value} is no multiple"
        if isinstance(value, dict):
            yield from self.object_mismatches(schema, value, where)
        if isinstance(value, list) and "items" in schema:
            for i, item in enumerate(value):
                yield from self.mismatches(schema["items"], item, f"{where}[{i}]")

    @staticmethod
    def type_mismatches(schema, value, where):
        kind = schema.get("type")
        if kind == "integer":
            good = isinstance(value, int) and not isinstance(value, bool)
        elif kind == "number":
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
        elif kind is not None:
            good = isinstance(value, TYPES[kind])
        else:
            good = True
        if not good:
            yield f"{where}: {value!r} is not of type {kind}"

    def object_mismatches(self, schema, value, where):
        for key in schema.get("required", []):
            if key not in value:
                yield f"{where}: {key} is missing"
        for key, item in value.items():
            if key in schema.get("properties", {}):
                yield from self.mismatches(schema["properties"][key], item, f"{where}.{key}")
            elif schema.get("additionalProperties") is False:
                yield f"{where}: {key} is not in the document"
            elif isinstance(schema.get("additionalProperties"), dict):
                yield from self.mismatches(schema["additionalProperties"], item, f"{where}.{key}")
