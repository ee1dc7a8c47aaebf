"""What tests of the wire contract share: a client on one kept connection, resources, rosters, a clock to turn.

Everything here is small on purpose: these tests make many rounds. Real curl is in sluice.py.
"""

import base64
import http.client
import json
import os
import ssl
import tempfile
import time
import urllib.parse

import sluice

KICK_OFF = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
PATIENT = "/api/v1/Patient/$export"
GROUP = "/api/v1/Group/all/$export"
MBI_SYSTEM = "http://hl7.org/fhir/sid/us-mbi"


def shared_guide(name):
    """The text of a guide in ../shared/guides; its absence is a failure that says so."""
    path = os.path.join(sluice.SHARED, "guides", name)
    if not os.path.exists(path):
        raise AssertionError(f"{path} is absent: this test reads the user guides beside the repository")
    with open(path, encoding="utf-8") as file:
        return file.read()


def issue(body):
    """The one issue of an OperationOutcome."""
    outcome = json.loads(body)
    if outcome["resourceType"] != "OperationOutcome" or len(outcome["issue"]) != 1:
        raise AssertionError(f"no OperationOutcome with one issue: {body!r}")
    return outcome["issue"][0]


class Client:
    """Requests of one ACO on one kept connection; asks for a new token when the old one is refused."""

    def __init__(self, server, aco="A9994"):
        self.server = server
        self.aco = aco
        self.token = None
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def send(self, method, target, fields=(), body=None):
        """(status, fields by lower-case name, body); without a token of its own."""
        if not self.connection:
            address = urllib.parse.urlsplit(self.server.base).netloc
            if self.server.plaintext:
                self.connection = http.client.HTTPConnection(address, timeout=sluice.DEADLINE_SECONDS)
            else:
                context = ssl.create_default_context(cafile=sluice.Site.tls()[0])
                self.connection = http.client.HTTPSConnection(address, timeout=sluice.DEADLINE_SECONDS, context=context)
        if target.startswith("http"):
            target = target[len(self.server.base):]
        self.connection.request(method, target, body=body, headers=dict(fields))
        answer = self.connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        if answer.will_close:
            self.close()
        return found

    def log_in(self):
        client, secret = self.server.site.credentials[self.aco]
        pair = base64.b64encode(f"{client}:{secret}".encode()).decode()
        status, _, body = self.send("POST", "/auth/token", {"Authorization": f"Basic {pair}"})
        if status != 200:
            raise AssertionError(f"no token for {self.aco}: {status} {body!r}")
        self.token = json.loads(body)["access_token"]
        return self.token

    def request(self, target, method="GET", fields=()):
        for _ in range(2):
            if not self.token:
                self.log_in()
            answer = self.send(method, target, dict(fields, Authorization=f"Bearer {self.token}"))
            if answer[0] != 401:
                break
            self.token = None
        return answer

    def kick_off(self, path=PATIENT):
        status, fields, body = self.request(path, fields=KICK_OFF)
        if status != 202:
            raise AssertionError(f"kick-off {path}: {status} {body!r}")
        return fields["content-location"]

    def wait_for_job(self, location):
        """Its manifest, as soon as it is there."""
        end = time.monotonic() + sluice.DEADLINE_SECONDS
        while True:
            status, fields, body = self.request(location)
            if status == 200:
                return json.loads(body)
            if status != 202 or time.monotonic() > end:
                raise AssertionError(f"{location}: {status} {fields} {body!r}")
            time.sleep(0.001)

    def download(self, item):
        """The lines of a file."""
        status, _, body = self.request(item["url"])
        if status != 200 or len(body) != item["fileSize"] or body.count(b"\n") != item["count"]:
            raise AssertionError(f"{item}: {status}, {len(body)} bytes, {body.count(bytes([10]))} lines")
        return body.split(b"\n")[:-1]

    def export(self, path=PATIENT):
        """A whole cycle: (manifest, [lines of each file of output])."""
        manifest = self.wait_for_job(self.kick_off(path))
        return manifest, [self.download(item) for item in manifest["output"]]


def since(path, instant):
    return f"{path}?_since={urllib.parse.quote(instant)}"


# ---- Resources ------------------------------------------------------------------------------------------------

def mbi(number):
    """1S00A00AA00 and on; `number` below 10000."""
    return f"1S{number // 1000}0A0{number // 100 % 10}AA{number % 100:02}"


def beneficiary_id(number):
    return f"-{number:05}"


def line(kind, number, updated=None, item=0, text=""):
    """One resource of beneficiary `number`."""
    who = beneficiary_id(number)
    resource = {"resourceType": kind}
    if kind == "Patient":
        resource.update(id=who, identifier=[{"system": MBI_SYSTEM, "value": mbi(number)}])
    elif kind == "Coverage":
        resource.update(id=f"part-a-{who}", beneficiary={"reference": f"Patient/{who}"})
    else:
        resource.update(id=f"carrier-{who}-{item}", patient={"reference": f"Patient/{who}"})
    if updated:
        resource["meta"] = {"lastUpdated": updated}
    if text:
        resource["extension"] = [{"url": "https://example.org/text", "valueString": text}]
    return json.dumps(resource)


def lines_of(number, updated, claims=1):
    """Patient, Coverage and some claims of one beneficiary."""
    return ([line("Patient", number, updated), line("Coverage", number, updated)] +
            [line("ExplanationOfBenefit", number, updated, item) for item in range(claims)])


def beneficiary_of(resource):
    reference = resource.get("patient") or resource.get("beneficiary")
    return reference["reference"].split("/")[1] if reference else resource["id"]


def roster_name(aco, instant, tenth=0):
    """Of a CCLF8 file as of an instant like 2021-03-04T05:06:07."""
    date, _, time_of_day = instant.rstrip("Z").partition("T")
    return f"P.BCD.{aco}.ZC8Y{date[2:4]}.D{date[2:].replace('-', '')}.T{time_of_day.replace(':', '')}{tenth}"


def write_roster(site, aco, instant, numbers, tenth=0):
    """A CCLF8 file; its path."""
    rows = "".join(mbi(number).ljust(549) + "\n" for number in numbers)
    return site.write(roster_name(aco, instant, tenth), rows)


def optout_row(identifier, preference, effective, link_key="", samhsa=""):
    """One row of an opt-out file: `effective` as CCYYMMDD, or nothing."""
    row = f"{identifier:11}{link_key:10}{'Janice':30}{'':30}{'Ames':40}19410101".ljust(345) + "F" + "20190801"
    return (row + f"{effective:8}1-800T{preference:1}{samhsa:8}").ljust(384) + f"{'A9999':5}{'An ACO':70}"


def optout_file(rows, trailer=True):
    text = "HDR_BENEDATASHR20190816\n" + "".join(row + "\n" for row in rows)
    return text + (f"TRL_BENEDATASHR20190816{len(rows):<10}" if trailer else "")


def optout_name(instant, kind="P", tenth=0):
    date, _, time_of_day = instant.rstrip("Z").partition("T")
    return f"{kind}#EFT.ON.ACO.NGD1800.DPRF.D{date[2:].replace('-', '')}.T{time_of_day.replace(':', '')}{tenth}"


# ---- Time -----------------------------------------------------------------------------------------------------

class Clock:
    """What server and sluicectl take for the time: the real one, shifted by whole seconds."""

    def __init__(self):
        self.path = os.path.join(tempfile.mkdtemp(prefix="sluice-clock-"), "clock")
        self.environment = {"SLUICE_TEST_CLOCK": self.path}
        self.shift(0)

    def shift(self, seconds):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(str(seconds))
        os.replace(self.path + ".new", self.path)
        self.seconds = seconds

    def now(self):
        return time.time() + self.seconds
