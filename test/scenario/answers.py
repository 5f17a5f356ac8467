"""Every answer of the server, and every request that it took, against docs/openapi.json. What the document does not say is a failure.

jsonschema reads the schemas: those of OpenAPI 3.1 are JSON Schema 2020-12. References start at the document's root, so each schema is checked as
{"$ref": its place, "components": the document's}."""
import json
import os
import sys
import urllib.parse

try:
    import jsonschema
except ImportError:
    sys.exit("FAIL: python3-jsonschema is missing, so no answer can be checked; `tool/setup.sh --test` installs it")

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "..", "..", "docs", "openapi.json"), encoding="utf-8") as f:
    DOCUMENT = json.load(f)
METHODS = ("get", "put", "post", "patch", "delete")
NO_OPERATION = (400, 404, 405, 413, 414, 417, 431, 501, 505)  # answers to what reaches no operation
_validators = {}


def pointer(*parts):
    return "#" + "".join("/" + p.replace("~", "~0").replace("/", "~1") for p in parts)


def resolve(node):
    while isinstance(node, dict) and "$ref" in node and node["$ref"].startswith("#/"):
        at = DOCUMENT
        for part in node["$ref"][2:].split("/"):
            at = at[part.replace("~1", "/").replace("~0", "~")]
        node = at
    return node


def faults(schema, value):
    """What is wrong with the value, in words; empty when nothing is."""
    key = id(schema)
    if key not in _validators:
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema], "components": DOCUMENT["components"]}
        _validators[key] = (schema, jsonschema.Draft202012Validator(whole))
    return [f"{'/'.join(map(str, e.absolute_path)) or 'the whole'}: {leaf(e).message[:300]}" for e in _validators[key][1].iter_errors(value)]


def leaf(error):
    """Of the ways in which none of several schemas fits, the one that says most."""
    while error.context:
        error = jsonschema.exceptions.best_match(error.context) if len(error.context) > 1 else error.context[0]
    return error


def operation(method, path):
    """(template, operation, whether the path is known with any method)."""
    parts = [urllib.parse.unquote(p) for p in path.split("?")[0].split("/")]
    known = False
    for template, item in DOCUMENT["paths"].items():
        want = template.split("/")
        if len(want) == len(parts) and all(w.startswith("{") or w == p for w, p in zip(want, parts)):
            known = True
            if method.lower() in item:
                return template, item[method.lower()], True
    return None, None, known


class Undocumented(Exception):  # not an AssertionError: `eventually` must not try it again
    """An answer that the document does not describe."""


def fail(method, path, status, what, body):
    shown = body if isinstance(body, (dict, list)) else repr(body)
    raise Undocumented(f"{method} {path} -> {status}: {what}\n  the body: {json.dumps(shown, ensure_ascii=False)[:1500]}")


def check_no_operation(method, path, status, media, body, known):
    if status not in NO_OPERATION or status == (404 if known else 405):
        fail(method, path, status, "the document has no such operation", body)
    if media != "application/problem+json":
        fail(method, path, status, f"a problem has the type application/problem+json, not {media!r}", body)
    for fault in faults(DOCUMENT["components"]["schemas"]["Problem"], body):
        fail(method, path, status, fault, body)


def check(method, path, sent, status, headers, body):
    """sent: the request's body, decoded, or None. headers: a mapping that ignores case. body: decoded when it is JSON, else bytes."""
    template, op, known = operation(method, path)
    media = (headers.get("Content-Type") or "").split(";")[0].strip().lower()
    if not op:
        return check_no_operation(method, path, status, media, body, known)
    if str(status) not in op["responses"]:
        fail(method, path, status, f"the document does not know this status of {method} {template}", body)
    answer = resolve(op["responses"][str(status)])
    for name, header in answer.get("headers", {}).items():
        if resolve(header).get("required") and headers.get(name) is None:
            fail(method, path, status, f"the header {name} is missing", body)
    content = answer.get("content")
    if not content:
        if body not in (None, b"", ""):
            fail(method, path, status, "the document knows no body for it", body)
        return
    if media not in content:
        fail(method, path, status, f"its Content-Type is {media!r}, the document says {', '.join(content)}", body)
    value = body.decode() if isinstance(body, bytes) else body
    for fault in faults(content[media]["schema"], value):
        fail(method, path, status, fault, body)
    if isinstance(body, dict) and media.endswith("problem+json") and body["status"] != status:
        fail(method, path, status, "the problem's status is another", body)
    if status < 300 and sent is not None and "requestBody" in op:
        for fault in faults(op["requestBody"]["content"]["application/json"]["schema"], sent):
            fail(method, path, status, f"the server took a request that the document does not allow: {fault}: {json.dumps(sent)[:500]}", body)
