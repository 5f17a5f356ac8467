"""No field that is given is passed over: an unknown one is refused and named, at every place of every body; and an edit that changes nothing is none."""
import answers
from answers import DOCUMENT
from harness import Server, expect

s = Server()
ODD = "no_such_field"
UNCHECKED = {"metadata", "data"}  # what the app wants
BESIDE = {  # what the server asks of a body before it looks further
    "/v1/workflows/{id}": {"channels": ["inapp", "push"], "templates": {"en": {"title": "x"}}},
    "/v1/conversations/{id}/messages": {"from": "ann"},
}
PARAMS = {"emoji": "ok", "m": "m1", "user": "bob", "other": "bob", "device": "d1", "c": "talk", "topic": "news", "trigger": "t"}


def resolve(schema):
    while isinstance(schema, dict) and "$ref" in schema:
        schema = answers.resolve(schema)
    return schema


def sample(schema):
    """A value that the schema takes, with what is required of it only."""
    schema = resolve(schema)
    if not isinstance(schema, dict):
        return "x"
    if "example" in schema:
        return schema["example"]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema and "type" not in schema:
            return sample(schema[key][0])
    kind = schema.get("type", "string")
    kind = kind if isinstance(kind, str) else kind[0]
    if kind == "object":
        return {name: sample(schema["properties"][name]) for name in schema.get("required", [])}
    if kind == "array":
        return [sample(schema["items"])] * max(1, schema.get("minItems", 0))
    return {"string": "x", "integer": 1, "number": 1, "boolean": True, "null": None}[kind]


def bodies(schema, seen=()):
    """(where, body): the whole with an unknown field in one of its closed objects."""
    schema = resolve(schema)
    if not isinstance(schema, dict) or id(schema) in seen:
        return
    seen += (id(schema),)
    for key in ("oneOf", "anyOf", "allOf"):
        for part in schema.get(key, []):
            yield from bodies(part, seen)
    if schema.get("additionalProperties") is False and "properties" in schema:
        yield "", {**sample(schema), ODD: 1}
    for name, part in schema.get("properties", {}).items():
        if name in UNCHECKED:
            continue
        for where, inside in bodies(part, seen):
            yield f".{name}{where}", {**sample(schema), name: inside}
    if isinstance(schema.get("items"), dict):
        for where, inside in bodies(schema["items"], seen):
            yield f"[]{where}", [inside]


def unknown_fields():
    asked = 0
    for path, item in DOCUMENT["paths"].items():
        at = path
        for name in ("id", *PARAMS):
            at = at.replace("{%s}" % name, PARAMS.get(name, "talk" if "/conversations/{id}" in path else "ann"))
        for method, op in item.items():
            if method not in ("put", "post", "patch") or at.startswith("/v1/unsubscribe"):
                continue
            body = op.get("requestBody")
            assert body, f"{method} {path}: its body has a schema"
            query = "?user=ann" if "/typing" in at or "/reactions" in at else ""
            for where, wrong in bodies(answers.resolve(body)["content"]["application/json"]["schema"]):
                status, said = s.call(method.upper(), at + query, {**BESIDE.get(path, {}), **wrong})
                asked += 1
                told = said.get("field", "") if isinstance(said, dict) else ""
                for one in said.get("items", []) if isinstance(said, dict) else []:
                    status, told = one.get("status", status), told or one.get("field", "")
                if status != 400 or ODD not in told:
                    print(f"{method.upper()} {path}: {ODD} in the body{where}: {wrong}: {status} {said}")
                    unknown_fields.wrong += 1
    expect(asked > 40, True, "bodies were sent")
    expect(unknown_fields.wrong, 0, "every unknown field is refused and named")


unknown_fields.wrong = 0


def nothing_to_change():
    for body in ({}, None):
        status, said = s.call("PATCH", "/v1/conversations/talk/messages/m1", body)
        expect(status, 400, said)
    status, said = s.call("PATCH", "/v1/conversations/talk/messages/m1", {})
    for name in ("body", "data", "media"):
        assert name in said["detail"], said
    assert "edited_at" not in s.call("GET", "/v1/conversations/talk/messages/m1")[1]
    status, said = s.call("PATCH", "/v1/conversations/talk/messages/m1", {"body": "two"})
    assert status == 200 and said["edited_at"], said


def empty_bodies():
    for body in (None, {}):
        for method, path in (("PUT", "/v1/users/ann/follows/bob"), ("PUT", "/v1/users/ann/mutes/bob"), ("PUT", "/v1/topics/news/users/ann"),
                             ("PUT", "/v1/conversations/talk/messages/m1/reactions/ok?user=ann"), ("POST", "/v1/conversations/talk/typing?user=ann")):
            status, said = s.call(method, path, body)
            expect(status in (200, 201, 202, 204), True, f"{method} {path}: {status} {said}")
    status, said = s.call("PUT", "/v1/users/ann/follows/bob", [1])
    expect(status, 400, said)


def stories():
    s.call("PUT", "/v1/users/ann", {"name": "Ann"})
    s.call("PUT", "/v1/users/bob", {"name": "Bob"})
    s.call("PUT", "/v1/workflows/x", {"channels": ["inapp"], "templates": {"en": {"title": "x"}}})
    s.call("PUT", "/v1/conversations/talk", {"type": "group", "members": ["ann", "bob"]})
    expect(s.call("POST", "/v1/conversations/talk/messages", {"id": "m1", "from": "ann", "body": "one"})[0], 201)
    unknown_fields()
    nothing_to_change()
    empty_bodies()
stories()
s.close()
