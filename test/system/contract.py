# SPDX-License-Identifier: MIT
"""A service's OpenAPI document as a thing to test with: values that its schemas accept, values
that they do not, and a verdict on every answer. What JSON Schema means is for python3-jsonschema
to say."""
import copy
import json
import re
import string
import tempfile

import jsonschema
from hypothesis import configuration
from hypothesis import strategies as st

TABLES = tempfile.TemporaryDirectory(prefix="orrery-hypothesis-")  # of characters, which it keeps in a file
configuration.set_hypothesis_home_dir(TABLES.name)
DIALECT = jsonschema.Draft202012Validator
HOST_TAG = "host"
NO_TEXT = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
SIMPLE = st.one_of(st.integers(-1000, 1000), st.booleans(), st.text(NO_TEXT, max_size=8))
SAFE = string.ascii_letters + string.digits + "._-~"


class Operation:
    def __init__(self, contract, path, method, said):
        self.contract, self.path, self.method, self.said = contract, path, method.upper(), said
        self.id = said["operationId"]
        self.name = f"{self.method} {path}"
        self.roles = said.get("x-roles")
        self.secured = bool(said["security"])
        self.by_host = HOST_TAG in said["tags"]
        body = said.get("requestBody")
        self.body = contract.whole(body["content"]["application/json"]["schema"]) if body else None
        self.verdicts = {}

    def parameters(self, place):
        return [p for p in self.said.get("parameters", []) if p["in"] == place]

    def expected(self, status):
        responses = self.said["responses"]
        found = responses.get(str(status), responses.get(f"{status // 100}XX"))
        return found and self.contract.resolve(found)

    def verdict(self, answer):
        """What is wrong with an answer, or None."""
        status = answer.status_code
        expected = self.expected(status)
        if status >= 500 and not (self.by_host and expected):
            return f"{status}: {answer.text[:300]}"
        if expected is None:
            return f"{status} is not documented: {answer.text[:300]}"
        kinds = expected.get("content")
        if not kinds:
            return f"{status} has a body, and none is documented: {answer.text[:100]}" if answer.content else None
        kind = answer.headers.get("Content-Type", "none").split(";")[0].strip().lower()
        if kind not in kinds:
            return f"{status} is {kind}, documented: {', '.join(kinds)}"
        return self.body_verdict(status, kind, kinds[kind]["schema"], answer)

    def body_verdict(self, status, kind, schema, answer):
        if not kind.endswith("json"):
            return None if answer.text else f"{status} has no text"
        body = json.loads(answer.content)
        if (status, kind) not in self.verdicts:
            self.verdicts[status, kind] = self.contract.validator(schema)
        for error in self.verdicts[status, kind].iter_errors(body):
            where = ".".join(str(part) for part in error.absolute_path) or "body"
            return f"{status}: {where}: {error.message[:300]}"
        if kind == "application/problem+json" and body["status"] != status:
            return f"{status} says that it is {body['status']}"
        return None


class Contract:
    def __init__(self, document):
        self.document = document
        self.resolver = jsonschema.RefResolver("", document)
        self.operations = [Operation(self, path, method, said)
                           for path, methods in document["paths"].items() for method, said in methods.items()]

    def resolve(self, schema):
        """The thing itself, where a reference stands for it."""
        while isinstance(schema, dict) and "$ref" in schema:
            schema = self.resolver.resolve(schema["$ref"])[1]
        return schema

    def whole(self, schema):
        """The schema without references; those of requests never go round."""
        if isinstance(schema, dict):
            return {name: self.whole(part) for name, part in self.resolve(schema).items()}
        return [self.whole(part) for part in schema] if isinstance(schema, list) else schema

    def validator(self, schema):
        return DIALECT(schema, resolver=self.resolver)


# --- values that a schema accepts ----------------------------------------------------------------

def text_of(schema):
    low, high = schema.get("minLength", 0), schema.get("maxLength", 40)
    pattern = schema.get("pattern")
    if schema.get("format") == "uuid":
        return st.uuids(version=4).map(str)
    if schema.get("format") == "email":
        word = st.text(SAFE, min_size=1, max_size=12)
        return st.builds("{}@{}.{}".format, word, word, st.sampled_from(["test", "example", "invalid"]))
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + "Z")
    if pattern in (None, r"^[^\x00]*$"):
        return st.one_of(st.text(NO_TEXT, min_size=low, max_size=min(high, low + 12)),
                         st.text(string.ascii_lowercase, min_size=high, max_size=high) if high <= 2000
                         else st.nothing())
    one_class = re.fullmatch(r"\^(\[(?:[^\]\\]|\\.)+\])[+*]\$", pattern)
    if one_class:
        least = max(low, 1 if pattern.endswith("+$") else 0)
        return st.from_regex(rf"\A{one_class[1]}{{{least},{min(high, least + 12)}}}\Z")
    whole = rf"\A(?:{pattern.removeprefix('^').removesuffix('$')})\Z"
    return st.from_regex(whole).filter(lambda text: low <= len(text) <= high)


def object_of(schema):
    properties, required = schema.get("properties", {}), schema.get("required", [])
    more = schema.get("additionalProperties", True)
    fixed = st.fixed_dictionaries(
        {name: values(properties[name]) for name in required},
        optional={name: values(part) for name, part in properties.items() if name not in required})
    if properties or not isinstance(more, dict):
        return fixed
    return st.dictionaries(st.text(SAFE, min_size=1, max_size=8), values(more), max_size=3)


def values(schema):
    """A strategy of values that the schema (without references) accepts."""
    kind = schema.get("type")
    if "enum" in schema:
        made = st.sampled_from(schema["enum"])
    elif kind == "string":
        made = text_of(schema)
    elif kind == "integer":
        low, high = schema.get("minimum", -2**53), schema.get("maximum", 2**53)
        made = st.one_of(st.integers(low, high), st.integers(low, min(high, low + 20)), st.just(high))
    elif kind == "number":
        made = st.floats(-1e9, 1e9, allow_nan=False)
    elif kind == "boolean":
        made = st.booleans()
    elif kind == "array":
        low = schema.get("minItems", 0)
        made = st.lists(values(schema["items"]), min_size=low, max_size=min(schema.get("maxItems", 9), low + 3))
    elif kind == "object":
        made = object_of(schema)
    else:
        made = SIMPLE
    examples = schema.get("examples")
    return st.one_of(st.sampled_from(examples), made) if examples else made


# --- values that it does not -----------------------------------------------------------------------

def places(value, schema, path=()):
    """Every place in the value that the schema says something about: (path, schema there)."""
    yield path, schema
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from places(value[name], part, (*path, name))
    elif isinstance(value, list) and "items" in schema:
        for i, item in enumerate(value):
            yield from places(item, schema["items"], (*path, i))


def spoiled(value, schema):
    """Values near this one that the schema may reject: what was done -> the value."""
    kind = schema.get("type")
    if not kind:
        return {}
    others = {"string": 7, "integer": "7", "number": "7", "boolean": "true", "array": {}, "object": [1]}
    made = {"another type": others[kind]}
    if kind == "string":
        made["NUL in it"] = value + "\0"
        made["a word that is none of them"] = "none-of-them" if "enum" in schema else value
        if schema.get("maxLength", 1e9) < 5000:
            made["too long"] = value + "a" * (schema["maxLength"] + 1 - len(value))
        if schema.get("minLength", 0) > 0:
            made["too short"] = value[:schema["minLength"] - 1]
    elif kind == "integer":
        made["not whole"] = value + 0.5
        made["too small"], made["too large"] = schema.get("minimum", 0) - 1, schema.get("maximum", 0) + 1
    elif kind == "array":
        if schema.get("minItems"):
            made["too few"] = value[:schema["minItems"] - 1]
        if value and schema.get("maxItems", 1e9) < 200:
            made["too many"] = [value[0]] * (schema["maxItems"] + 1)
    elif kind == "object":
        if schema.get("additionalProperties") is False:
            made["one member more"] = {**value, "nobody-knows": 1}
        for name in schema.get("required", []):
            made[f"without {name}"] = {key: part for key, part in value.items() if key != name}
    return made


def broken(value, schema, random):
    """(what was done, a value like this one that the schema rejects), or None."""
    path, inner = random.choice(list(places(value, schema)))
    whole = [copy.deepcopy(value)]
    holder, name = whole, 0
    for part in path:
        holder, name = holder[name], part
    made = [(what, bad) for what, bad in spoiled(holder[name], inner).items() if not DIALECT(inner).is_valid(bad)]
    if not made:
        return None
    what, holder[name] = random.choice(made)
    return f"{'.'.join(map(str, path)) or 'body'}: {what}", whole[0]
