"""Every error that a client can meet: status, fields, codes, class and text (docs/api.md section 2), and which of
two answers when a request has both (section 3). Over TLS, with real curl; malformed HTTP is test_http.py's.
"""

import base64
import hashlib
import hmac
import itertools
import json
import os
import random
import re
import shutil
import socket
import ssl
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

ACCEPT = "Accept: application/fhir+json"
PREFER = "Prefer: respond-async"
KICK_OFF = [ACCEPT, PREFER]
NO_ACCEPT = "Accept:"  # curl sends a field of its own otherwise

REQUEST, FORMATTING, TOKEN = "Request Error", "Formatting Error", "Invalid Token"
NOT_FOUND, DELETED, INTERNAL = "Not Found Error", "Deleted Error", "Internal Error"
UUID = "00000000-0000-4000-8000-000000000000"
BEARER_ROUTES = [("GET", "/auth/welcome"), ("GET", wire.PATIENT), ("GET", wire.GROUP), ("GET", "/api/v1/jobs"),
                 ("GET", "/api/v1/jobs/1"), ("DELETE", "/api/v1/jobs/1"), ("GET", f"/data/1/{UUID}.ndjson"),
                 ("GET", "/api/v1/attribution_status")]
OPEN_ROUTES = ["/_auth", "/_version", "/_health", "/api/v1/metadata"]
EXPOSED = {"content-location", "x-progress", "retry-after", "expires", "etag"}

# Takes many passages of 50 ms, so that a job stays active while a test looks.
SLOW = {"SLUICE_FAILPOINTS": "export.file.open=sleep,export.file.write=sleep,export.file.fsync=sleep"}
MANY_FILES = {"file_bytes_max": "1KiB", "export_workers": 1}
SLOW_BENEFICIARIES = 400


def make_site(acos=("A9994", "A9995"), beneficiaries=3, environment=None):
    site = sluice.Site(acos, environment)
    lines = [line for number in range(beneficiaries) for line in wire.lines_of(number, "2021-01-01T00:00:00Z")]
    site.ctl("import", "--aco", acos[0], site.write("claims.ndjson", "".join(line + "\n" for line in lines)))
    return site


def encoded(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


class ErrorCase(unittest.TestCase):
    """How one answer is compared with its row of the table."""

    def assert_common_fields(self, headers):
        self.assertEqual(headers["x-content-type-options"], "nosniff")
        self.assertEqual(headers["cache-control"], "no-store")
        self.assertRegex(headers["x-request-id"], r"^[A-Za-z0-9._-]{1,64}$")
        if not self.server.plaintext:
            self.assertRegex(headers["strict-transport-security"], r"^max-age=\d{7,}$")

    def assert_problem(self, answer, status, code, problem_class, text):
        """`text` is exact, or a compiled pattern that must match the whole; None: the bare form."""
        got, headers, body = answer
        self.assertEqual(got, status, body)
        self.assertEqual(headers["content-type"], "application/fhir+json")
        self.assertEqual(headers["content-length"], str(len(body)))
        self.assert_common_fields(headers)
        found = wire.issue(body)
        if text is None:
            expected = None
        elif isinstance(text, re.Pattern):
            expected = found["diagnostics"]
            self.assertRegex(expected, re.compile(f"^(?:{text.pattern})$"))
        else:
            expected = text
        coding = {"system": "http://hl7.org/fhir/ValueSet/operation-outcome", "code": problem_class}
        details = {"coding": [coding]}
        outcome = {"severity": "error", "code": code, "details": details}
        if expected is not None:
            coding["display"] = details["text"] = outcome["diagnostics"] = expected
        # Keys in this order, minified.
        document = {"resourceType": "OperationOutcome", "issue": [outcome]}
        self.assertEqual(body.decode(), json.dumps(document, separators=(",", ":"), ensure_ascii=False))
        self.assert_tells_nothing(body)

    def assert_tells_nothing(self, body):
        for private in [self.site.folder.encode(), b"server/", b".c:"] + [
                secret.encode() for pair in self.site.credentials.values() for secret in pair]:
            self.assertNotIn(private, body)


# The kick-off's faults in the order of section 3. Each says what it makes of (fields, group, parameters).
SINCE_INVALID = "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format."
SINCE_FUTURE = "Invalid date format supplied in _since parameter. Date must be a date that has already passed"
FORMAT_OTHER = "_outputFormat parameter must be application/fhir+ndjson, application/ndjson, or ndjson"
UNSUPPORTED = "Invalid parameter: this server does not support the _elements parameter."

FAULTS = [
    # name, part of the request, its value, status, code, class, text
    ("no token", "token", None, 401, "login", TOKEN, None),
    ("bad token", "token", "Bearer nonsense", 401, "login", TOKEN, None),
    ("Accept missing", "accept", NO_ACCEPT, 400, "structure", FORMATTING, "Accept header is required"),
    ("Accept other", "accept", "Accept: application/json", 400, "structure", FORMATTING,
     "application/fhir+json is the only supported response format"),
    ("Prefer missing", "prefer", "Prefer:", 400, "structure", FORMATTING, "Prefer header is required"),
    ("Prefer other", "prefer", "Prefer: respond-sync", 400, "structure", FORMATTING,
     "Only asynchronous responses are supported"),
    ("group unknown", "group", "runin", 400, "value", REQUEST, "Invalid group ID"),
    ("type unknown", "_type", "Medication", 400, "value", REQUEST, "Invalid resource type"),
    ("type repeated", "_type", "Patient,Patient", 400, "value", REQUEST, "Repeated resource type"),
    ("since unparsable", "_since", "yesterday", 400, "value", FORMATTING, SINCE_INVALID),
    ("since in the future", "_since", "2999-01-01", 400, "value", FORMATTING, SINCE_FUTURE),
    ("format other", "_outputFormat", "text/csv", 400, "value", FORMATTING, FORMAT_OTHER),
    ("parameter unsupported", "_elements", "id", 400, "not-supported", REQUEST, UNSUPPORTED),
    ("job active", None, None, 429, "throttled", REQUEST,
     re.compile(r"Job \d+ of this endpoint is active\. Wait for it, or delete it\.")),
]


class KickOffTest(ErrorCase):
    """One server whose jobs take long, so that an active job is one of the faults."""

    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.site = make_site(beneficiaries=SLOW_BENEFICIARIES)
        cls.addClassCleanup(cls.site.close)
        cls.server = sluice.Server(cls.site, settings=MANY_FILES, environment=SLOW).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))
        cls.token = cls.server.token()
        cls.jobs = [cls.server.kick_off(cls.token, path) for path in (wire.PATIENT, wire.GROUP)]

    def send(self, faults, generator, token=None):
        """A kick-off with these faults; its parameters in an order of the generator's."""
        parts = {"token": f"Bearer {token or self.token}", "accept": ACCEPT, "prefer": PREFER, "group": None}
        parameters = {"_type": "Patient", "_since": "2021-01-01", "_outputFormat": "ndjson"}
        for _, part, value, *_ in faults:
            if part in parts:
                parts[part] = value
            elif part:
                parameters[part] = value
        pairs = list(parameters.items())
        generator.shuffle(pairs)
        path = f"/api/v1/Group/{parts['group']}/$export" if parts["group"] else generator.choice([wire.PATIENT, wire.GROUP])
        fields = [parts["accept"], parts["prefer"]]
        if parts["token"]:
            fields.append(f"Authorization: {parts['token']}")
        generator.shuffle(fields)
        return self.server.curl(path + "?" + "&".join(f"{name}={value}" for name, value in pairs), fields=fields)

    def assert_fault(self, answer, fault):
        _, _, _, status, code, problem_class, text = fault
        self.assert_problem(answer, status, code, problem_class, text)
        headers = answer[1]
        self.assertEqual(headers.get("www-authenticate"), "Bearer" if status == 401 else None)
        self.assertNotIn("content-location", headers)
        if status == 429:
            self.assertIn(int(headers["retry-after"]), range(1, 121))
        else:
            self.assertNotIn("retry-after", headers)

    def test_of_two_faults_the_earlier_check_answers(self):
        seed = int(os.environ.get("SLUICE_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"SLUICE_TEST_SEED={seed}", file=sys.stderr)
        pairs = [(first, second) for first, second in itertools.combinations(FAULTS, 2) if first[1] != second[1]]
        self.assertGreater(len(pairs), 80)

        def check(index):
            first, second = pairs[index]
            answer = self.send([first, second], random.Random(seed + index))
            with self.subTest(first=first[0], second=second[0]):
                self.assert_fault(answer, first)
        for index in range(len(pairs)):
            check(index)

    def test_each_fault_alone_and_all_together(self):
        generator = random.Random(1)
        for fault in FAULTS:
            with self.subTest(fault[0]):
                self.assert_fault(self.send([fault], generator), fault)
        # All of one part's alternatives at once, and then one check less at a time.
        last_of_parts = [fault for at, fault in enumerate(FAULTS)
                         if fault[1] not in [other[1] for other in FAULTS[:at]]]
        for left in range(len(last_of_parts)):
            self.assert_fault(self.send(last_of_parts[left:], generator), last_of_parts[left])

    def test_the_active_jobs_are_named(self):
        for job, path in zip(self.jobs, (wire.PATIENT, wire.GROUP)):
            answer = self.server.curl(path, token=self.token, fields=KICK_OFF)
            self.assertEqual(answer[0], 429)
            self.assertIn(f"Job {job.rsplit('/', 1)[1]} ", wire.issue(answer[2])["details"]["text"])

    def test_another_acos_kick_off_is_not_the_others_business(self):
        token = self.server.token("A9995")
        for path in (wire.PATIENT, wire.GROUP):
            self.server.wait_for_job(self.server.kick_off(token, path), token)

    def test_no_fault_began_a_job(self):
        listed = json.loads(self.site.ctl("jobs", "list", "--aco", "A9994", "--json").stdout)
        self.assertEqual(len(listed), len(self.jobs))

    def test_forms_of_accept_and_prefer(self):
        generator = random.Random(2)
        active = FAULTS[-1]  # what a kick-off gets here that is right
        accept_missing, accept_other, prefer_missing, prefer_other = FAULTS[2:6]
        rows = [
            ("accept", "Accept: */*", active), ("accept", "Accept: application/*", active),
            ("accept", "Accept: text/html, application/fhir+json;q=0.1", active),
            ("accept", "Accept: APPLICATION/FHIR+JSON", active), ("accept", "Accept;", accept_missing),
            ("accept", "Accept: application/fhir+json;q=0", accept_other), ("accept", "Accept: text/*", accept_other),
            ("accept", "Accept: */*;q=0", accept_other), ("accept", "Accept: application/*;q=0, */*", accept_other),
            ("prefer", "Prefer: Respond-Async", active), ("prefer", "Prefer: wait=5, respond-async; x=y", active),
            ("prefer", "Prefer: handling=lenient, respond-async", active), ("prefer", "Prefer;", prefer_missing),
            ("prefer", "Prefer: return=minimal", prefer_other), ("prefer", "Prefer: respond-asynchronously", prefer_other),
        ]
        for part, value, expected in rows:
            with self.subTest(value):
                self.assert_fault(self.send([("", part, value)], generator), expected)
        for fields, expected in (([ACCEPT, "Prefer: wait=5", PREFER], active),
                                 (["Accept: text/html", ACCEPT, PREFER], active)):
            answer = self.server.curl(wire.PATIENT, token=self.token, fields=fields)
            self.assert_fault(answer, expected)


class TokenTest(ErrorCase):
    """One 401 for everything that is wrong with a token."""

    @classmethod
    def setUpClass(cls):
        cls.clock = wire.Clock()
        cls.site = make_site(("A9994", "A9995", "A9996", "A9997"), environment=cls.clock.environment)
        cls.addClassCleanup(cls.site.close)
        cls.server = sluice.Server(cls.site).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))

    def refused_forms(self):
        token = self.server.token()
        header, payload, signature = token.split(".")
        claims = json.loads(decoded(payload))

        def signed(algorithm, body=payload):
            signed_part = encoded({"alg": algorithm, "typ": "JWT"}) + "." + body
            with open(os.path.join(self.site.store, "keys", "token.pem"), "rb") as file:
                private = file.read()
            public = sluice.run("openssl", "pkey", "-pubout", input=private.decode()).stdout
            digest = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}[algorithm]
            return signed_part + "." + encoded(hmac.new(public.encode(), signed_part.encode(), digest).digest())
        forms = {
            "missing": None, "empty": "", "scheme alone": "Bearer", "scheme and space": "Bearer ",
            "bare": token, "lower-case scheme": f"bearer {token}", "upper-case scheme": f"BEARER {token}",
            "two spaces": f"Bearer  {token}", "other scheme": f"Token {token}", "Basic": "Basic YTpi",
            "garbage": "Bearer nonsense", "dots": "Bearer ..", "text behind": f"Bearer {token} x",
            "another part": f"Bearer {token}.x", "no signature": f"Bearer {header}.{payload}.",
            "no third part": f"Bearer {header}.{payload}", "cut": f"Bearer {token[:-1]}",
            "signature of another": "Bearer " + header + "." + payload + "." + self.server.token("A9995").split(".")[2],
            "other ACO in it": "Bearer " + header + "." + encoded({key: "A9995" if value == "A9994" else value
                                                                  for key, value in claims.items()}) + "." + signature,
            "unsigned": "Bearer " + encoded({"alg": "none", "typ": "JWT"}) + "." + payload + ".",
            "HS256 with the public key": "Bearer " + signed("HS256"),
            "HS512 with the public key": "Bearer " + signed("HS512"),
            "too long": "Bearer " + "a" * 8000, "bytes": "Bearer \xff\xfe",
        }
        # Right ones, spoilt.
        revoked = self.server.token("A9995")
        self.site.ctl("credentials", "revoke", self.site.credentials["A9995"][0])
        forms["revoked"] = f"Bearer {revoked}"
        removed = self.server.token("A9996")
        self.site.ctl("aco", "remove", "A9996")
        forms["ACO removed"] = f"Bearer {removed}"
        self.clock.shift(-1201)
        expired = self.server.token()
        self.clock.shift(0)
        forms["expired"] = f"Bearer {expired}"
        self.clock.shift(3600)
        unborn = self.server.token()
        self.clock.shift(0)
        forms["not born yet"] = f"Bearer {unborn}"
        return forms

    def test_every_cause_has_the_same_answer(self):
        self.assertEqual(self.server.curl("/auth/welcome", token=self.server.token())[0], 200)
        first = None
        for cause, value in self.refused_forms().items():
            with self.subTest(cause):
                fields = [] if value is None else [f"Authorization: {value}" if value else "Authorization;"]
                answer = self.server.curl("/auth/welcome", fields=fields)
                self.assert_problem(answer, 401, "login", TOKEN, None)
                status, headers, body = answer
                self.assertEqual(headers["www-authenticate"], "Bearer")
                same = status, body, {name: value for name, value in headers.items() if name not in ("date", "x-request-id")}
                first = first or same
                self.assertEqual(same, first)

    def test_every_guarded_route_refuses_alike(self):
        answers = set()
        for method, path in BEARER_ROUTES:
            status, headers, body = self.server.curl(path, method=method, fields=KICK_OFF)
            answers.add((status, headers["www-authenticate"], headers["content-type"], body))
        self.assertEqual(len(answers), 1, answers)
        status, headers, _ = self.server.curl("/auth/welcome", method="HEAD")
        self.assertEqual((status, headers["www-authenticate"]), (401, "Bearer"))

    def test_two_authorizations_are_none(self):
        token = self.server.token()
        fields = [f"Authorization: Bearer {token}", f"Authorization: Bearer {token}"]
        self.assertEqual(self.server.curl("/auth/welcome", fields=fields)[0], 401)

    def test_no_open_route_asks_for_a_token(self):
        for path in OPEN_ROUTES:
            for fields in ([], ["Authorization: Bearer nonsense"]):
                self.assertEqual(self.server.curl(path, fields=fields)[0], 200, path)

    # ---- the token endpoint: RFC 6749's JSON ----

    def assert_token_error(self, answer, status, error):
        self.assertEqual((answer[0], answer[2]), (status, json.dumps({"error": error}, separators=(",", ":")).encode()))
        self.assertEqual(answer[1]["content-type"], "application/json")
        self.assert_common_fields(answer[1])
        challenge = answer[1].get("www-authenticate", "")
        self.assertEqual(challenge.startswith("Basic "), status == 401)

    def test_the_token_endpoint_refuses_in_its_own_words(self):
        client, secret = self.site.credentials["A9997"]

        def basic(text):
            return "Authorization: Basic " + base64.b64encode(text.encode()).decode()
        rows = [
            ([], 400), (["Authorization;"], 400), (["Authorization: Basic"], 400), (["Authorization: Basic "], 400),
            (["Authorization: Basic !!!"], 400), (["Authorization: Basic YQ"], 400), (["Authorization: Bearer x"], 400),
            ([basic("no colon")], 400), ([basic(f"{client}:{secret}") + " x"], 400),
            ([basic(f"{client}:{secret[:-1]}")], 401), ([basic(f"{client}:{secret}0")], 401),
            ([basic(f"{client}:{secret.upper()}")], 401), ([basic(f"{client}:")], 401), ([basic(f":{secret}")], 401),
            ([basic(f"{UUID}:{secret}")], 401), ([basic(f" {client}:{secret}")], 401), ([basic(":")], 401),
        ]
        for fields, status in rows:
            with self.subTest(fields):
                answer = self.server.curl("/auth/token", "-d", "", method="POST", fields=fields)
                self.assert_token_error(answer, status, "invalid_request" if status == 400 else "invalid_client")

    def test_the_token_endpoint_takes_what_clients_send(self):
        client, secret = self.site.credentials["A9997"]
        for arguments in (["-d", ""], ["-d", "grant_type=client_credentials"], ["-H", "Accept: application/json", "-d", ""],
                          ["-H", "Content-Type:", "-d", ""], ["-H", "Content-Length:"], []):
            status, headers, body = self.server.curl("/auth/token", "--user", f"{client}:{secret}", *arguments, method="POST")
            self.assertEqual(status, 200, arguments)
            self.assertEqual((headers["content-type"], headers["cache-control"], headers["pragma"]),
                             ("application/json", "no-store", "no-cache"))
            answer = json.loads(body)
            self.assertEqual(list(answer), ["access_token", "token_type", "expires_in"])
            self.assertEqual((answer["token_type"], answer["expires_in"]), ("bearer", 1200))
            header, payload, _ = answer["access_token"].split(".")
            self.assertEqual(json.loads(decoded(header)), {"alg": "RS512", "typ": "JWT"})
            claims = json.loads(decoded(payload))
            self.assertEqual(claims["exp"] - claims["iat"], 1200)
            self.assertNotIn(secret, json.dumps(claims))


class RoutesTest(ErrorCase):
    """Paths, methods, bodies and fields that do not fit; and the fields that every answer has."""

    PUBLIC = "https://bcda.example.org"

    @classmethod
    def setUpClass(cls):
        cls.site = make_site()
        cls.addClassCleanup(cls.site.close)
        cls.server = sluice.Server(cls.site).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))
        cls.token = cls.server.token()
        cls.other = cls.server.token("A9995")
        cls.job = cls.server.kick_off(cls.token)
        cls.manifest = cls.server.wait_for_job(cls.job, cls.token)
        cls.number = str(cls.manifest["JobID"])
        cls.file = cls.manifest["output"][0]["url"].rsplit("/", 1)[1]

    def get(self, *arguments, token=None, **options):
        return self.server.curl(*arguments, token=token or self.token, **options)

    def test_unknown_paths(self):
        for path in ("/", "/api", "/api/v1", "/api/v1/", "/api/v2/Patient/$export", "/api/v1/Patient", "/api/v1/Patient/$Export",
                     "/api/v1/Patient/$exports", "/api/v1/Patient/$export/", "/api/v1/patient/$export", "/api/v1/Group/$export",
                     "/api/v1/Group//$export", "/api/v1/jobs/", f"/api/v1/jobs/{self.number}/", f"/data/{self.number}",
                     f"/data/{self.number}/", f"/data/{self.number}/a/b", "/auth", "/auth/token/", "/_version/", "/metrics",
                     "/api/v1/metadata/", "/../etc/passwd", "/api/v1/Coverage/$export", "//_version"):
            with self.subTest(path):
                answer = self.get(path, "--path-as-is", fields=KICK_OFF)
                self.assert_problem(answer, 404, "not-found", NOT_FOUND, "There is nothing at this path.")
        answer = self.server.curl("/nowhere", "-d", "x", method="POST")
        self.assert_problem(answer, 404, "not-found", NOT_FOUND, "There is nothing at this path.")

    def test_what_a_shell_leaves_of_the_guides_commands_is_explained(self):
        for path in ("/api/v1/Patient/", "/api/v1/Group/all/", "/api/v1/Patient/?_type=Patient", "/api/v1/Group/all/?_type=Coverage"):
            for token in (self.token, None):
                answer = self.server.curl(path, token=token, fields=KICK_OFF)
                self.assert_problem(answer, 404, "not-found", NOT_FOUND, re.compile(r".*\$export.*shell.*single quotes.*"))

    def test_wrong_methods_are_told_the_right_ones(self):
        rows = [("/auth/token", ["POST"]), ("/auth/welcome", ["GET", "HEAD"]), ("/_auth", ["GET", "HEAD"]),
                ("/_version", ["GET", "HEAD"]), ("/_health", ["GET", "HEAD"]), ("/api/v1/metadata", ["GET", "HEAD"]),
                (wire.PATIENT, ["GET"]), (wire.GROUP, ["GET"]), (wire.PATIENT.replace("$", "%24"), ["GET"]),
                ("/api/v1/Group/none/$export", ["GET"]),
                ("/api/v1/jobs", ["GET", "HEAD"]), ("/api/v1/jobs/1", ["GET", "HEAD", "DELETE"]),
                (f"/data/1/{UUID}.ndjson", ["GET", "HEAD"]), ("/api/v1/attribution_status", ["GET", "HEAD"])]
        jobs = json.loads(self.get("/api/v1/jobs")[2])["total"]
        for path, allowed in rows:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"):
                if method in allowed:
                    continue
                with self.subTest(path=path, method=method):
                    answer = self.get(path, method=method, fields=KICK_OFF)
                    self.assertEqual({name.strip() for name in answer[1]["allow"].split(",")}, {*allowed, "OPTIONS"})
                    if method == "HEAD":
                        self.assertEqual(answer[0], 405)
                    else:
                        self.assert_problem(answer, 405, "not-supported", REQUEST,
                                            "This path does not take this method; the field Allow says which it takes.")
        self.assertEqual(json.loads(self.get("/api/v1/jobs")[2])["total"], jobs, "none of them started a job")

    def test_options_names_the_methods(self):
        status, headers, body = self.server.curl("/api/v1/jobs/1", method="OPTIONS")
        self.assertEqual((status, body), (204, b""))
        self.assertEqual(headers["allow"], "GET, HEAD, DELETE, OPTIONS")
        self.assertNotIn("content-length", headers)
        self.assertNotIn("access-control-allow-origin", headers)
        self.assert_common_fields(headers)

    def test_preflights_are_answered_without_a_token(self):
        for method, path in BEARER_ROUTES + [("GET", path) for path in OPEN_ROUTES] + [("POST", "/auth/token")]:
            with self.subTest(path):
                status, headers, body = self.server.curl(path, method="OPTIONS", fields=[
                    "Origin: https://page.example", f"Access-Control-Request-Method: {method}",
                    "Access-Control-Request-Headers: authorization,prefer,accept"])
                self.assertEqual((status, body), (204, b""))
                self.assertEqual(headers["access-control-allow-origin"], "*")
                self.assertNotIn("access-control-allow-credentials", headers)
                self.assertIn(method, headers["access-control-allow-methods"].split(", "))
                allowed = {name.strip().lower() for name in headers["access-control-allow-headers"].split(",")}
                self.assertLessEqual({"authorization", "prefer", "accept", "content-type", "range", "if-range",
                                      "if-none-match", "if-modified-since"}, allowed)
                self.assertGreater(int(headers["access-control-max-age"]), 0)

    def test_pages_may_read_answers_and_failures(self):
        rows = [("/_version", 200, self.token), ("/auth/welcome", 401, "nonsense"), ("/nowhere", 404, self.token),
                (self.job, 200, self.token), (self.manifest["output"][0]["url"], 200, self.token), (wire.PATIENT, 400, self.token)]
        for target, status, token in rows:
            with self.subTest(target):
                got, headers, _ = self.get(target, token=token, fields=["Origin: null"])
                self.assertEqual(got, status)
                self.assertEqual(headers["access-control-allow-origin"], "*")
                exposed = {name.strip().lower() for name in headers["access-control-expose-headers"].split(",")}
                self.assertLessEqual(EXPOSED, exposed)
        self.assertNotIn("access-control-allow-origin", self.get("/_version")[1])

    def test_job_and_file_of_nobody_of_another_and_of_no_number_are_the_same(self):
        ids = ["999999999", "0", "00", f"0{self.number}", "-1", "+1", "1.0", "abc", "%31", "1%00", "9" * 19, "9" * 40, "1e0", "a" * 300]
        answers = {}
        for name in ids + [self.number]:
            token = self.other if name == self.number else self.token
            for method, path in (("GET", f"/api/v1/jobs/{name}"), ("DELETE", f"/api/v1/jobs/{name}"),
                                 ("GET", f"/data/{name}/{self.file}"), ("GET", f"/data/{name}/x")):
                status, headers, body = self.get(path, token=token, method=method)
                headers = {key: value for key, value in headers.items() if key not in ("date", "x-request-id")}
                answers.setdefault((status, body, tuple(headers.items())), []).append((method, path))
        self.assertEqual(len(answers), 1, answers)
        self.assert_problem(self.get("/api/v1/jobs/999999999"), 404, "not-found", NOT_FOUND, "There is no such job.")
        self.assertEqual(self.get(self.job)[0], 200, "and the other ACO's DELETE did nothing")

    def test_a_file_that_is_not_there(self):
        for name in (f"{UUID}.ndjson", "x", self.file + ".gz", "..", "%2e%2e%2f"):
            answer = self.get(f"/data/{self.number}/{name}", "--path-as-is")
            self.assert_problem(answer, 404, "not-found", NOT_FOUND, "There is no such file.")

    def test_codings_that_are_not_served(self):
        answer = self.get(self.manifest["output"][0]["url"], fields=["Accept-Encoding: br, identity;q=0"])
        self.assert_problem(answer, 406, "not-supported", REQUEST,
                            "Files are served as gzip or identity; Accept-Encoding admits neither.")
        for coding in ("gzip", "deflate", "br", "x"):
            answer = self.server.curl("/auth/token", "-d", "grant_type=client_credentials", method="POST",
                                      fields=[f"Content-Encoding: {coding}"])
            self.assert_problem(answer, 415, "not-supported", REQUEST, "The request's body is compressed; send it as it is.")
        answer = self.server.curl("/auth/token", "-d", "x", method="POST", fields=["Content-Encoding: identity"])
        self.assertEqual(answer[0], 400)

    def test_ranges_without_a_byte(self):
        item = self.manifest["output"][0]
        answer = self.get(item["url"], fields=[f"Range: bytes={item['fileSize']}-"])
        self.assert_problem(answer, 416, "value", REQUEST, "No byte of the file lies in the range that was asked for.")
        self.assertEqual(answer[1]["content-range"], f"bytes */{item['fileSize']}")

    def test_malformed_requests_end_the_connection(self):
        host, port = self.server.base.split("//")[1].split(":")
        context = ssl.create_default_context(cafile=sluice.Site.tls()[0])
        for request in (b"nonsense\r\n\r\n", b"GET /_version HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
                        b"GET /_version HTTP/1.1\r\nHost : a\r\n\r\n", b"POST /auth/token HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"):
            with self.subTest(request), socket.create_connection((host, int(port))) as plain:
                with context.wrap_socket(plain, server_hostname=host) as secured:
                    secured.sendall(request)
                    answer = b""
                    while received := secured.recv(65536):
                        answer += received
                head, body = answer.split(b"\r\n\r\n", 1)
                lines = head.decode().split("\r\n")
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
                self.assert_problem((int(lines[0].split()[1]), headers, body), 400, "structure", REQUEST, re.compile(".+"))
                self.assertEqual(headers["connection"], "close")

    def test_bounds(self):
        answer = self.get("/" + "a" * 8192)
        self.assert_problem(answer, 414, "too-long", REQUEST, "the URL is longer than 8192 bytes")
        self.assertEqual(answer[1]["connection"], "close")
        answer = self.get("/_version", fields=[f"X-Filler-{number}: {'a' * 8000}" for number in range(5)])
        self.assert_problem(answer, 431, "too-long", REQUEST, re.compile(r".* longer than 32768 bytes"))
        answer = self.server.curl("/auth/token", "-H", "Expect:", "-d", "@" + self.site.write("large", "a" * 65537), method="POST")
        self.assert_problem(answer, 413, "too-long", REQUEST, re.compile(r".* longer than 65536 bytes"))
        answer = self.get(wire.PATIENT + "?" + "a" * 5000, fields=KICK_OFF)
        if answer[0] != 202:
            self.assert_problem(answer, 414, "too-long", REQUEST, re.compile(".*too long.*|.*longer than.*"))
        else:
            self.server.wait_for_job(answer[1]["content-location"], self.token)
            self.assertEqual(self.get(answer[1]["content-location"], method="DELETE")[0], 202)

    def test_a_dollar_may_be_written_out(self):
        for path in ("/api/v1/Patient/%24export?_type=Patient", "/api/v1/Group/all/%24export?_type=Patient"):
            location = self.server.kick_off(self.token, path)
            manifest = self.server.wait_for_job(location, self.token)
            self.assertEqual(manifest["request"], self.server.base + path)
            self.assertEqual(self.get(location, method="DELETE")[0], 202)

    def test_request_ids_are_the_clients_if_well_formed(self):
        for name in ("a", "A-1_2.3", "0" * 64):
            self.assertEqual(self.get("/_version", fields=[f"X-Request-Id: {name}"])[1]["x-request-id"], name)
        seen = set()
        for name in ("", "a b", "a" * 65, "<script>", "a,b", "é", '"'):
            got = self.get("/_version", fields=[f"X-Request-Id: {name}" if name else "X-Request-Id;"])[1]["x-request-id"]
            self.assertRegex(got, "^[0-9a-f]{32}$")
            seen.add(got)
        self.assertEqual(len(seen), 7)
        for target in ("/nowhere", "/auth/welcome", self.job):
            answer = self.server.curl(target, fields=["X-Request-Id: mine"])
            self.assertEqual(answer[1]["x-request-id"], "mine")

    def test_head_answers_as_get_without_a_body(self):
        for target in ("/_version", "/_health", "/_auth", "/api/v1/metadata", "/auth/welcome", "/api/v1/jobs", self.job,
                       "/api/v1/jobs/0", "/nowhere", self.manifest["output"][0]["url"], "/data/0/x"):
            with self.subTest(target):
                status, headers, body = self.get(target)
                head_status, head_headers, _ = self.get(target, method="HEAD")
                self.assertEqual(head_status, status)
                self.assertEqual(head_headers["content-length"], str(len(body)))
                self.assertEqual(set(head_headers), set(headers))
                self.assertEqual(head_headers["content-type"], headers["content-type"])

    def test_polls_and_downloads_look_at_neither_accept_nor_prefer(self):
        for fields in (["Accept: image/png"], ["Accept:", "Prefer: nonsense"], [PREFER]):
            self.assertEqual(self.get(self.job, fields=fields)[0], 200)
            self.assertEqual(self.get(self.manifest["output"][0]["url"], fields=fields)[0], 200)

    # ---- where URLs come from ----

    def urls(self, server, *fields):
        """Every URL of a kick-off, a manifest, the list and the metadata, without their path's end."""
        token = server.token()
        status, headers, body = server.curl(wire.PATIENT + "?_type=Patient", token=token, fields=[*KICK_OFF, *fields])
        self.assertEqual(status, 202, body)
        path = headers["content-location"].split("/", 3)[3]

        def manifest():
            status, _, body = server.curl(f"/{path}", token=token, fields=fields)
            return json.loads(body) if status == 200 else None
        document = sluice.wait_until(manifest, "the job is Completed")
        metadata = json.loads(server.curl("/api/v1/metadata", fields=fields)[2])
        bundle = json.loads(server.curl("/api/v1/jobs", token=token, fields=fields)[2])
        extension = metadata["rest"][0]["security"]["extension"][0]["extension"][0]
        found = [headers["content-location"], document["request"], document["output"][0]["url"],
                 metadata["implementation"]["url"] + "/", extension["valueUri"], bundle["entry"][0]["fullUrl"]]
        found += [operation["definition"]["reference"] for operation in metadata["rest"][0]["operation"][:5]]
        server.curl(f"/{path}", token=token, method="DELETE")
        bases = {"/".join(url.split("/", 3)[:3]) for url in found}
        self.assertEqual(len(bases), 1, found)
        return bases.pop()

    def test_urls_take_the_host_of_the_request(self):
        self.assertEqual(self.urls(self.server), self.server.base)
        self.assertEqual(self.urls(self.server, "Host: bcda.example.org"), self.PUBLIC)
        self.assertEqual(self.urls(self.server, "Host: bcda.example.org:8443"), self.PUBLIC + ":8443")
        # Nobody is trusted, so a forged field changes nothing.
        forged = ["X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "Forwarded: host=evil.example"]
        self.assertEqual(self.urls(self.server, *forged), self.server.base)

    def test_urls_take_the_configured_base(self):
        self.server_with({"public_url": self.PUBLIC, "trusted_proxy": "127.0.0.1"}, lambda server: [
            self.assertEqual(self.urls(server), self.PUBLIC),
            self.assertEqual(self.urls(server, "Host: evil.example", "X-Forwarded-Host: evil.example"), self.PUBLIC)])

    def test_urls_take_a_trusted_proxys_word(self):
        def check(server):
            self.assertEqual(self.urls(server), server.base)
            self.assertEqual(self.urls(server, "X-Forwarded-Proto: https", "X-Forwarded-Host: bcda.example.org"), self.PUBLIC)
            # The last of a list stands nearest; what is no host or scheme is not taken.
            self.assertEqual(self.urls(server, "X-Forwarded-Proto: http, https", "X-Forwarded-Host: evil.example, bcda.example.org"),
                             self.PUBLIC)
            self.assertEqual(self.urls(server, "X-Forwarded-Proto: gopher", "X-Forwarded-Host: a/b"), server.base)
        self.server_with({"trusted_proxy": "127.0.0.1"}, check, plaintext=True)
        self.server_with({"trusted_proxy": "127.0.0.2"}, lambda server: self.assertEqual(
            self.urls(server, "X-Forwarded-Host: evil.example"), server.base), plaintext=True)

    def server_with(self, settings, check, plaintext=False):
        site = make_site(["A9994"])
        self.addCleanup(site.close)
        with sluice.Server(site, plaintext=plaintext, settings=settings) as server:
            check(server)

    def test_origins_may_be_restricted(self):
        def check(server):
            status, headers, _ = server.curl("/_version", fields=["Origin: https://a.example"])
            self.assertEqual((headers["access-control-allow-origin"], headers["vary"]), ("https://a.example", "Origin"))
            status, headers, _ = server.curl("/_version", fields=["Origin: https://c.example"])
            self.assertEqual(status, 200)
            self.assertNotIn("access-control-allow-origin", headers)
            self.assertEqual(headers["vary"], "Origin")
        self.server_with({"cors_origin": "https://a.example https://b.example"}, check)
        self.server_with({"cors_origin": ""}, lambda server: self.assertNotIn(
            "access-control-allow-origin", server.curl("/_version", fields=["Origin: https://a.example"])[1]))


class LimitsTest(ErrorCase):
    def test_the_rate_of_a_clients_requests(self):
        self.site = make_site(("A9994", "A9995"))
        self.addCleanup(self.site.close)
        with sluice.Server(self.site, settings={"request_rate_per_minute": 5}) as self.server:
            token, other = self.server.token(), self.server.token("A9995")
            answers = [self.server.curl("/auth/welcome", token=token) for _ in range(6)]
            self.assertEqual([answer[0] for answer in answers], [200] * 5 + [429])
            self.assert_problem(answers[5], 429, "throttled", REQUEST,
                                "This client has sent too many requests. Try again later.")
            self.assertIn(int(answers[5][1]["retry-after"]), range(1, 61))
            self.assertEqual(self.server.curl("/auth/welcome", token=other)[0], 200)
            self.assertEqual(self.server.curl("/_version", token=token)[0], 200)

    def test_the_rate_of_failed_logins(self):
        self.site = make_site()
        self.addCleanup(self.site.close)
        with sluice.Server(self.site, settings={"login_failures_per_minute": 3}) as self.server:
            client, secret = self.site.credentials["A9994"]

            def log_in(password):
                return self.server.curl("/auth/token", "--user", f"{client}:{password}", "-d", "", method="POST")
            self.assertEqual([log_in("x")[0] for _ in range(3)], [401] * 3)
            status, headers, body = log_in(secret)
            self.assertEqual((status, headers["content-type"]), (429, "application/json"))
            self.assertIn(int(headers["retry-after"]), range(1, 61))
            self.assertEqual(list(json.loads(body)), ["error"])
        with sluice.Server(self.site, settings={"login_failures_per_minute": 0}) as self.server:
            self.assertEqual({log_in("x")[0] for _ in range(40)}, {401})
            self.assertEqual(log_in(secret)[0], 200)


class TroubleTest(ErrorCase):
    """What goes wrong on our side, and what is over."""

    def setUp(self):
        self.site = make_site()
        self.addCleanup(self.site.close)

    def start(self, **options):
        self.server = sluice.Server(self.site, **options).start()
        self.addCleanup(lambda: self.server.stop(None))

    def test_a_store_that_takes_nothing_says_try_again(self):
        with sluice.Server(self.site, environment={"SLUICE_FAILPOINTS": "engine.commit.before=nospace"}) as self.server:
            token = self.server.token()
            for _ in range(2):  # the endpoint's token came back: the second is not told that a job is active
                answer = self.server.curl(wire.PATIENT, token=token, fields=KICK_OFF)
                self.assert_problem(answer, 503, "transient", INTERNAL,
                                    "The server cannot do this at the moment. Try again later.")
                self.assertGreater(int(answer[1]["retry-after"]), 0)
            # What needs no writing goes on.
            self.assertEqual(self.server.curl("/api/v1/jobs", token=token)[0], 200)
        with sluice.Server(self.site) as self.server:
            self.server.wait_for_job(self.server.kick_off(token), token)

    def test_a_failed_job_says_so_and_frees_the_endpoint(self):
        with sluice.Server(self.site, environment={"SLUICE_FAILPOINTS": "export.file.write=error@1"}) as self.server:
            token = self.server.token()
            location = self.server.kick_off(token)
            answer = sluice.wait_until(lambda: next((found for found in [self.server.curl(location, token=token)]
                                                     if found[0] != 202), None), "the job has ended")
            self.assert_problem(answer, 500, "exception", INTERNAL,
                                "Service encountered numerous errors.  Unable to complete the request.")
            self.assertEqual(answer[1]["x-progress"], "Failed")
            number = location.rsplit("/", 1)[1]
            self.assertEqual(self.server.curl(f"/data/{number}/{UUID}.ndjson", token=token)[0], 404)
            self.server.wait_for_job(self.server.kick_off(token), token)

    def test_a_health_that_fails_names_the_part(self):
        self.start()
        status, headers, body = self.server.curl("/_health")
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        self.assertEqual(json.loads(body)["database"], "ok")
        shutil.rmtree(os.path.join(self.site.store, "jobs"))
        status, _, body = self.server.curl("/_health")
        self.assertEqual(status, 502)
        self.assertEqual([name for name, state in json.loads(body).items() if state != "ok"], ["jobs"])
        self.assertNotIn(self.site.folder.encode(), body)

    def test_gone_and_cancelled_jobs(self):
        clock = wire.Clock()
        self.start(settings={"token_lifetime_seconds": 86400, "keep_hours": 2}, environment=clock.environment)
        token = self.server.token()
        locations = [self.server.kick_off(token, path) for path in (wire.PATIENT, wire.GROUP)]
        manifests = [self.server.wait_for_job(location, token) for location in locations]
        self.assertEqual(self.server.curl(locations[1], token=token, method="DELETE")[0], 202)
        expires = self.server.curl(locations[0], token=token)[1]["expires"]
        number = manifests[0]["JobID"]
        text = f"The files of job {number} expired on {expires}."
        for hours, state in ((2, "Archived"), (5, "Expired")):
            clock.shift(hours * 3600 + 1)
            answer = self.server.curl(locations[0], token=token)
            self.assert_problem(answer, 410, "not-found", DELETED, text)
            self.assertEqual((answer[1]["x-progress"], answer[1]["expires"]), (state, expires))
            answer = self.server.curl(manifests[0]["output"][0]["url"], token=token)
            self.assert_problem(answer, 410, "not-found", DELETED, text)
            answer = self.server.curl(f"/data/{number}/{UUID}.ndjson", token=token)
            self.assertEqual(answer[0], 410)
            sluice.wait_until(lambda: self.server.events(f"job {state.lower()}"), f"it is written down as {state}")
        self.assert_problem(self.server.curl(locations[0], token=token, method="DELETE"), 410, "not-found", DELETED, text)
        for method in ("GET", "DELETE"):
            answer = self.server.curl(locations[1], token=token, method=method)
            self.assert_problem(answer, 404, "not-found", NOT_FOUND, "Job has been cancelled.")
        answer = self.server.curl(manifests[1]["output"][0]["url"], token=token)
        self.assert_problem(answer, 404, "not-found", NOT_FOUND, "There is no such file.")


class ActiveJobTest(unittest.TestCase):
    """One active job of an ACO and endpoint (docs/api.md section 6)."""

    timeout_seconds = 300
    KICK_OFFS = 100

    def start(self, **options):
        self.server = sluice.Server(self.site, plaintext=True, settings=MANY_FILES, **options)
        return self.server

    def storm(self, paths):
        """All at once, each on a connection of its own that stands already: [(status, location or None)]."""
        clients = [wire.Client(self.server) for _ in paths]
        token = clients[0].log_in()
        for client in clients:
            client.token = token
            client.request("/_version")

        def kick_off(index):
            status, headers, _ = clients[index].request(paths[index], fields=wire.KICK_OFF)
            return status, headers.get("content-location")
        answers = sluice.parallel(kick_off, range(len(paths)))
        for client in clients:
            client.close()
        return answers

    def accepted(self, answers):
        self.assertLessEqual({status for status, _ in answers}, {202, 429})
        return [location for status, location in answers if status == 202]

    def test_one_of_a_hundred_is_accepted_however_a_job_ends(self):
        self.site = make_site(beneficiaries=SLOW_BENEFICIARIES)
        self.addCleanup(self.site.close)
        with self.start(environment=SLOW) as server:
            for _ in range(3):
                for path in (wire.PATIENT, wire.GROUP):
                    found = self.accepted(self.storm([path] * self.KICK_OFFS))
                    self.assertEqual(len(found), 1, path)
                    # Nobody else's are touched by that.
                    other = wire.Client(server, "A9995")
                    other.wait_for_job(other.kick_off(path))
                    other.close()
                # Cancelled: the next is accepted at once.
                client = wire.Client(server)
                listed = json.loads(client.request("/api/v1/jobs?_status=Pending,In%20Progress")[2])
                self.assertEqual(listed["total"], 2)
                for entry in listed["entry"]:
                    self.assertEqual(client.request(entry["fullUrl"], "DELETE")[0], 202)
                client.close()
            # A crash: the job is active as before, and its endpoint alone.
            path = wire.PATIENT
            location = self.accepted(self.storm([path] * self.KICK_OFFS))[0]
            job = "/" + location.split("/", 3)[3]
            server.kill()
        with self.start(environment=SLOW) as server:
            client = wire.Client(server)
            self.assertEqual(client.request(job)[0], 202)
            self.assertEqual(self.accepted(self.storm([path] * self.KICK_OFFS)), [])
            status, _, body = client.request(path, fields=wire.KICK_OFF)
            self.assertIn(f"Job {job.rsplit('/', 1)[1]} ", wire.issue(body)["details"]["text"])
            self.assertEqual(client.request(client.kick_off(wire.GROUP), "DELETE")[0], 202)
            client.close()
            server.kill()
        with self.start() as server:
            client = wire.Client(server)
            client.wait_for_job(job)
            found = self.accepted(self.storm([path] * self.KICK_OFFS))
            self.assertEqual(len(found), 1)
            # Completed: the next is accepted.
            client.wait_for_job(found[0])
            client.wait_for_job(client.kick_off(path))
            client.close()

    def test_both_endpoints_at_once_are_two_jobs(self):
        self.site = make_site(beneficiaries=100)
        self.addCleanup(self.site.close)
        with self.start(environment=SLOW):
            found = self.accepted(self.storm([wire.PATIENT, wire.GROUP] * (self.KICK_OFFS // 2)))
            self.assertEqual(len(found), 2)


if __name__ == "__main__":
    unittest.main()
