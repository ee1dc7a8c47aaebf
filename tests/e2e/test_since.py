"""`_since` and attribution, from files to exported lines: what forms are taken, what each selects to the microsecond,
and who is new to Group/all (docs/api.md section 3)."""

import json
import os
import sys
import time
import unittest
from datetime import datetime, timedelta, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EVERYTHING = "everything"
INVALID = "Invalid date format supplied in _since parameter.  Date must be in FHIR Instant format."
FUTURE = "Invalid date format supplied in _since parameter. Date must be a date that has already passed"
NOON_EST = "2020-02-20T17:00:00.000000"  # the guide's sample, in UTC

# (what stands behind _since= in the URL, what it means in UTC or which text refuses it)
FORMS = [
    # The guide's sample in many forms.
    ("2020-02-20T12:00:00.00-05:00", NOON_EST), ("2020-02-20T12:00:00-05:00", NOON_EST),
    ("2020-02-20T17:00:00Z", NOON_EST), ("2020-02-20T17:00:00.0Z", NOON_EST), ("2020-02-20T17:00:00.000Z", NOON_EST),
    ("2020-02-20T17:00:00+00:00", NOON_EST), ("2020-02-20T17:00:00-00:00", NOON_EST),
    ("2020-02-20T17:00:00%2B00:00", NOON_EST), ("2020-02-20T22:30:00%2B05:30", NOON_EST),
    ("2020-02-20T22:30:00+05:30", NOON_EST), ("2020-02-20T22:30:00%2b05:30", NOON_EST),
    ("2020-02-20T22:30:00%2005:30", NOON_EST), ("2020%2D02%2D20T17%3A00%3A00Z", NOON_EST),
    ("2020-02-21T07:00:00+14:00", NOON_EST), ("2020-02-20T03:00:00-14:00", NOON_EST),
    ("2020-02-21T06:45:00+13:45", NOON_EST), ("2020-02-20T05:00:00-12:00", NOON_EST),
    # Fractions: any number of digits, cut behind microseconds.
    ("2020-02-20T17:00:00.1Z", "2020-02-20T17:00:00.100000"), ("2020-02-20T17:00:00.12Z", "2020-02-20T17:00:00.120000"),
    ("2020-02-20T17:00:00.123Z", "2020-02-20T17:00:00.123000"), ("2020-02-20T17:00:00.1234Z", "2020-02-20T17:00:00.123400"),
    ("2020-02-20T17:00:00.12345Z", "2020-02-20T17:00:00.123450"), ("2020-02-20T17:00:00.123456Z", "2020-02-20T17:00:00.123456"),
    ("2020-02-20T17:00:00.1234567Z", "2020-02-20T17:00:00.123456"), ("2020-02-20T17:00:00.123456999Z", "2020-02-20T17:00:00.123456"),
    ("2020-02-20T17:00:00.999999999999-00:00", "2020-02-20T17:00:00.999999"), ("2020-02-20T17:00:00.000001Z", "2020-02-20T17:00:00.000001"),
    # Dates, and what is less than one: their first instant, UTC.
    ("2020-02-20", "2020-02-20T00:00:00.000000"), ("2021", "2021-01-01T00:00:00.000000"), ("2021-06", "2021-06-01T00:00:00.000000"),
    ("2020-02-29", "2020-02-29T00:00:00.000000"), ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000000"),
    ("2020-12-31T23:59:59.999999Z", "2020-12-31T23:59:59.999999"), ("2020-12-31T23:30:00-01:00", "2021-01-01T00:30:00.000000"),
    ("2024-03-01T00:30:00%2B01:00", "2024-02-29T23:30:00.000000"), ("2022-01-31", "2022-01-31T00:00:00.000000"),
    # Around the day before which everything carries an arbitrary date.
    ("2020-02-12", "2020-02-12T00:00:00.000000"), ("2020-02-12T00:00:00Z", "2020-02-12T00:00:00.000000"),
    ("2020-02-11T23:59:59.999999Z", EVERYTHING), ("2020-02-11", EVERYTHING), ("2020-02-12T00:59:59%2B01:00", EVERYTHING),
    ("2020-02-11T19:00:00-05:00", "2020-02-12T00:00:00.000000"), ("2020-02", EVERYTHING), ("2020", EVERYTHING),
    ("2020-01-01", EVERYTHING), ("2000-02-29", EVERYTHING), ("1969-12-31T23:59:59Z", EVERYTHING), ("1900", EVERYTHING),
    ("0001-01-01", EVERYTHING),
    # Refused.
    ("", INVALID), ("yesterday", INVALID), ("20200220", INVALID), ("2020-2-20", INVALID), ("2020-02-30", INVALID),
    ("2021-02-29", INVALID), ("1900-02-29", INVALID), ("2020-00-01", INVALID), ("2020-13", INVALID), ("2020-01-00", INVALID),
    ("2020-04-31", INVALID), ("0000", INVALID), ("0000-01-01", INVALID), ("10000-01-01", INVALID), ("-2020", INVALID), ("202", INVALID),
    ("2020-02-20T12:00:00", INVALID), ("2020-02-20T12:00Z", INVALID), ("2020-02-20T12Z", INVALID), ("2020-02-20T", INVALID),
    ("2020-02-20Z", INVALID), ("2020-02-20%2001:00:00Z", INVALID), ("2020-02-20t12:00:00Z", INVALID), ("2020-02-20T12:00:00z", INVALID),
    ("2020-02-20T24:00:00Z", INVALID), ("2020-02-20T23:60:00Z", INVALID), ("2020-02-20T23:59:60Z", INVALID),
    ("2016-12-31T23:59:60Z", INVALID), ("2020-02-20T12:00:00.Z", INVALID), ("2020-02-20T12:00:00,5Z", INVALID),
    ("2020-02-20T12:00:00%2B14:01", INVALID), ("2020-02-20T12:00:00-14:30", INVALID), ("2020-02-20T12:00:00-15:00", INVALID),
    ("2020-02-20T12:00:00%2B05", INVALID), ("2020-02-20T12:00:00-0500", INVALID), ("2020-02-20T12:00:00%2B05:60", INVALID),
    ("2020-02-20T12:00:00%20%2B05:00", INVALID), ("2020-02-20T12:00:00Z ".replace(" ", "%20"), INVALID), ("%202020-02-20", INVALID),
    ("gt2020-02-20", INVALID), ("2020-02-20T12:00:00Z%00", INVALID), ("2020-02-20%", INVALID), ("2020-02-20,2021-02-20", INVALID),
    ("%D9%A2020-02-20", INVALID), ("2020-02-20&_since=2020-02-20", INVALID), ("2020-02-20?_since=2020-02-20", INVALID),
    ("&_since=2020-02-20", INVALID), ("2999&_since=2020-02-20", INVALID), ("2020-02-20&_since=", INVALID),
    # Refused as not passed yet.
    ("2999-01-01", FUTURE), ("9999", FUTURE), ("9999-12-31T23:59:59.999999Z", FUTURE), ("2999-01-01T00:00:00%2B14:00", FUTURE),
]


def microseconds(instant):
    found = datetime.fromisoformat(instant)
    if found.tzinfo is None:
        found = found.replace(tzinfo=timezone.utc)
    return (found - EPOCH) // timedelta(microseconds=1)


def instant_text(us):
    return (EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def delete(client, location):
    status, _, body = client.request(location, "DELETE")
    if status != 202:
        raise AssertionError(f"{location}: {status} {body!r}")


class FormsTest(unittest.TestCase):
    """Each form, with claims at the instant that it means and a microsecond later."""

    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.site = sluice.Site(["A9994"])
        cls.addClassCleanup(cls.site.close)
        meant = sorted({microseconds(meaning) for _, meaning in FORMS if meaning[0] == "2"})
        cls.updated = [us + more for us in meant for more in (-1, 0, 1)] + [microseconds("2020-01-01"), microseconds("2020-02-11")]
        cls.updated = sorted(set(cls.updated))
        lines = [wire.line("Patient", 0, "2020-01-01T00:00:00Z")]
        lines += [wire.line("ExplanationOfBenefit", 0, instant_text(us), item) for item, us in enumerate(cls.updated)]
        cls.site.ctl("import", cls.site.write("claims.ndjson", "\n".join(lines) + "\n"))
        # Attributed since long ago, so that Group/all has its bound, too.
        cls.site.ctl("attribution", "import", wire.write_roster(cls.site, "A9994", "2019-01-01T00:00:00", [0]))
        cls.server = sluice.Server(cls.site, plaintext=True).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))
        cls.client = wire.Client(cls.server)
        cls.addClassCleanup(cls.client.close)

    def expected(self, meaning):
        """How many claims a form selects."""
        if meaning == EVERYTHING:
            return len(self.updated)
        return sum(us > microseconds(meaning) for us in self.updated)

    def check(self, request, form, meaning, endpoint=wire.PATIENT):
        path = f"{endpoint}?_since={form}&_type=ExplanationOfBenefit"
        status, headers, body = request(path)
        if meaning in (INVALID, FUTURE):
            self.assertEqual(status, 400, body)
            found = wire.issue(body)
            self.assertEqual((found["code"], found["details"]["coding"][0]["code"], found["details"]["text"]),
                             ("value", "Formatting Error", meaning))
            return
        self.assertEqual(status, 202, body)
        manifest = self.client.wait_for_job(headers["content-location"])
        self.assertEqual(manifest["request"], self.server.base + path)
        self.assertEqual(sum(item["count"] for item in manifest["output"]), self.expected(meaning))
        delete(self.client, headers["content-location"])

    def test_every_form_selects_what_it_means_or_says_why_not(self):
        self.assertGreater(len(FORMS), 90)
        for form, meaning in FORMS:
            with self.subTest(form):
                self.check(lambda path: self.client.request(path, fields=wire.KICK_OFF), form, meaning)

    def test_a_sample_with_real_curl_on_both_endpoints(self):
        token = self.server.token()
        fields = [f"{name}: {value}" for name, value in wire.KICK_OFF.items()]
        for endpoint in (wire.PATIENT, wire.GROUP):
            for form, meaning in FORMS[::9]:
                with self.subTest(endpoint=endpoint, form=form):
                    self.check(lambda path: self.server.curl(path, "--globoff", fields=fields, token=token), form, meaning, endpoint)

    def test_each_endpoint_has_its_bound_to_the_microsecond(self):
        for us in self.updated[4:40:5]:
            for endpoint in (wire.PATIENT, wire.GROUP):
                _, files = self.client.export(wire.since(endpoint, instant_text(us)) + "&_type=ExplanationOfBenefit")
                found = sorted(microseconds(json.loads(text)["meta"]["lastUpdated"].replace("Z", "+00:00"))
                               for lines in files for text in lines)
                self.assertEqual(found, [other for other in self.updated if other > us])


class UpToTransactionTimeTest(unittest.TestCase):
    """The edge between two exports."""

    def test_the_edge_is_exact(self):
        site = sluice.Site(["A9994"])
        self.addCleanup(site.close)

        def load(*lines):
            site.ctl("import", "--aco", "A9994", site.write("load.ndjson", "\n".join(lines) + "\n"))
        load(*wire.lines_of(0, "2021-01-01T00:00:00Z"))
        with sluice.Server(site, plaintext=True) as server:
            client = wire.Client(server)
            self.addCleanup(client.close)
            manifest, _ = client.export(wire.GROUP)
            given = microseconds(manifest["transactionTime"].replace("Z", "+00:00"))
            # At the edge, before it, behind it and in the future; the export with this time was given already.
            times = {1: given - 1, 2: given, 3: given + 1, 4: given + 2, 5: given + 3600 * 10**6}
            load(*[wire.line("ExplanationOfBenefit", 0, instant_text(us), item) for item, us in times.items()])

            def found(instant, endpoint):
                manifest, files = client.export(wire.since(endpoint, instant))
                newest = microseconds(manifest["transactionTime"].replace("Z", "+00:00"))
                self.assertGreater(newest, given)
                updated = {}
                for resource in (json.loads(text) for lines in files for text in lines):
                    us = microseconds(resource["meta"]["lastUpdated"].replace("Z", "+00:00"))
                    self.assertLess(us, newest)
                    updated[int(resource["id"].rsplit("-", 1)[1])] = us
                return updated
            for endpoint in (wire.GROUP, wire.PATIENT):
                updated = found(manifest["transactionTime"], endpoint)
                self.assertEqual(sorted(updated), [1, 2, 3, 4, 5])
                self.assertEqual((updated[3], updated[4]), (given + 1, given + 2), "later than what was given: kept to the letter")
                stamp = updated[1]
                self.assertGreater(stamp, given + 2)
                self.assertEqual([updated[2], updated[5]], [stamp, stamp])
                self.assertEqual(sorted(found(instant_text(given + 1), endpoint)), [1, 2, 4, 5])
                self.assertEqual(sorted(found(instant_text(given + 2), endpoint)), [1, 2, 5])
                self.assertEqual(sorted(found(instant_text(stamp - 1), endpoint)), [1, 2, 5])
                self.assertEqual(found(instant_text(stamp), endpoint), {})


class AttributionTest(unittest.TestCase):
    """Group/all over a history of rosters, in CCLF8 files."""

    timeout_seconds = 300
    ROSTERS = [  # instant, members, tenth of a second in the name
        ("2021-01-01T00:00:00", {0, 1, 2, 3}, 0),
        ("2022-01-01T00:00:00", {0, 1, 4}, 0),           # 2 and 3 left, 4 joined
        ("2023-01-01T00:00:00", {0, 2, 4, 5}, 0),        # 1 left, 2 came back, 5 joined
        ("2023-01-01T06:00:00", {0, 2, 4, 5, 6}, 0),     # two files of one day
    ]
    CLAIMS = ["2020-06-01T00:00:00Z", "2021-06-01T00:00:00Z", "2022-06-01T00:00:00Z", "2023-06-01T00:00:00Z"]
    SINCE = ["2020-03-01T00:00:00Z", "2020-12-31T23:59:59.999999Z", "2021-01-01T00:00:00Z", "2021-03-01T00:00:00Z",
             "2021-12-31T23:59:59.999999Z", "2022-01-01T00:00:00Z", "2022-08-01T00:00:00Z", "2023-01-01T00:00:00Z",
             "2023-01-01T05:59:59.999999Z", "2023-01-01T06:00:00Z", "2023-05-31T23:59:59.999999Z", "2023-06-01T00:00:00Z",
             "2024-01-01T00:00:00Z"]
    TYPES = ["ExplanationOfBenefit", "Coverage", "Patient"]

    def setUp(self):
        self.site = sluice.Site(["A9994", "A9995", "A9996"])
        self.addCleanup(self.site.close)
        self.lines = []  # (type, beneficiary, instant)
        text = []
        for number in range(10):
            self.lines += [("Patient", number, self.CLAIMS[0]), ("Coverage", number, self.CLAIMS[0])]
            text += [wire.line("Patient", number, self.CLAIMS[0]), wire.line("Coverage", number, self.CLAIMS[0])]
            for item, updated in enumerate(self.CLAIMS):
                self.lines.append(("ExplanationOfBenefit", number, updated))
                text.append(wire.line("ExplanationOfBenefit", number, updated, item))
        self.site.ctl("import", self.site.write("claims.ndjson", "\n".join(text) + "\n"))

    def load_roster(self, instant, members, tenth=0, aco="A9994"):
        return self.site.ctl("attribution", "import", wire.write_roster(self.site, aco, instant, sorted(members), tenth)).stdout

    def start(self):
        self.server = sluice.Server(self.site, plaintext=True).start()
        self.addCleanup(lambda: self.server.stop(None))
        return self.client_of("A9994")

    def client_of(self, aco):
        client = wire.Client(self.server, aco)
        self.addCleanup(client.close)
        return client

    @staticmethod
    def content(manifest, files):
        """[(type, sorted (beneficiary, instant) of the lines)] of each file in the manifest's order."""
        found = []
        for item, lines in zip(manifest["output"], files):
            resources = [json.loads(line) for line in lines]
            found.append((item["type"], sorted((int(wire.beneficiary_of(resource)[1:]), resource["meta"]["lastUpdated"])
                                               for resource in resources)))
        return found

    def expected(self, members, existing, instant):
        """What Group/all gives: per type the existing ones' later lines, then the new ones' whole history."""
        found = []
        for kind in self.TYPES:
            for lines in ([(number, updated) for type_, number, updated in self.lines
                           if type_ == kind and number in members & existing and updated > instant],
                          [(number, updated) for type_, number, updated in self.lines
                           if type_ == kind and number in members - existing]):
                if lines:
                    found.append((kind, sorted(lines)))
        return found

    def members_at(self, instant):
        before = [members for dated, members, _ in self.ROSTERS if microseconds(dated) <= microseconds(instant.replace("Z", "+00:00"))]
        return before[-1] if before else set()

    def test_who_is_new_comes_in_full_and_who_was_there_does_not(self):
        for instant, members, tenth in self.ROSTERS:
            self.load_roster(instant, members, tenth)
        client = self.start()
        members = self.ROSTERS[-1][1]
        for instant in self.SINCE:
            with self.subTest(instant):
                manifest, files = client.export(wire.since(wire.GROUP, instant))
                self.assertEqual(self.content(manifest, files), self.expected(members, self.members_at(instant), instant))
                self.assertEqual(manifest["error"], [])
                # The Patient endpoint bounds everybody alike.
                manifest, files = client.export(wire.since(wire.PATIENT, instant))
                self.assertEqual(self.content(manifest, files), self.expected(members, members, instant))
        # Without _since, and before the day that carries the arbitrary date, both endpoints give everything.
        for path in (wire.GROUP, wire.PATIENT, wire.since(wire.GROUP, "2020-02-11"), wire.since(wire.PATIENT, "2020-01-15")):
            self.assertEqual(self.content(*client.export(path)), self.expected(members, set(), ""))
        # Types keep the request's order, existing before new in each.
        manifest, _ = client.export(wire.since(wire.GROUP, "2021-03-01T00:00:00Z") + "&_type=Patient,ExplanationOfBenefit")
        self.assertEqual([item["type"] for item in manifest["output"]], ["Patient", "ExplanationOfBenefit", "ExplanationOfBenefit"])

    def test_a_roster_of_the_past_that_comes_after_an_export_makes_its_people_new(self):
        for instant, members, tenth in self.ROSTERS:
            self.load_roster(instant, members, tenth)
        client = self.start()
        first, _ = client.export(wire.GROUP)
        given = first["transactionTime"]
        # 0 leaves, 7 and 1 (who was there once) join: dated long before the export, loaded after it.
        self.load_roster("2023-03-01T00:00:00", {1, 2, 4, 5, 6, 7})
        self.assertEqual(self.content(*client.export(wire.since(wire.GROUP, given))),
                         self.expected({1, 2, 4, 5, 6, 7}, {0, 2, 4, 5, 6}, "2026"))
        self.assertEqual(client.export(wire.since(wire.PATIENT, given))[0]["output"], [])
        second, _ = client.export(wire.GROUP)
        # 0 comes back: new to who exported while he was away, but not to who did before he left.
        self.load_roster("2023-04-01T00:00:00", {0, 1, 2, 4, 5, 6, 7})
        everybody = {0, 1, 2, 4, 5, 6, 7}
        self.assertEqual(self.content(*client.export(wire.since(wire.GROUP, second["transactionTime"]))),
                         self.expected(everybody, everybody - {0}, "2026"))
        self.assertEqual(self.content(*client.export(wire.since(wire.GROUP, given))),
                         self.expected(everybody, {0, 2, 4, 5, 6}, "2026"))

    def test_left_and_back_within_one_day_between_two_exports_is_nothing_new(self):
        self.load_roster(*self.ROSTERS[0][:2])
        client = self.start()
        given = client.export(wire.GROUP)[0]["transactionTime"]
        self.load_roster("2021-05-01T00:00:00", {0})
        self.load_roster("2021-05-01T12:00:00", {0, 1, 2, 3})
        self.assertEqual(client.export(wire.since(wire.GROUP, given))[0]["output"], [])
        self.assertEqual(client.export(wire.since(wire.PATIENT, given))[0]["output"], [])

    def test_nobody_at_all_is_an_empty_export(self):
        self.load_roster("2021-01-01T00:00:00", {8}, aco="A9996")
        client = self.start()
        self.load_roster("2021-01-01T00:00:00", set(range(500, 520)))  # whose Patients never came
        for aco, path in (("A9994", wire.GROUP), ("A9994", wire.PATIENT), ("A9995", wire.GROUP), ("A9995", wire.PATIENT),
                          ("A9995", wire.since(wire.GROUP, "2021-03-01")), ("A9995", wire.since(wire.PATIENT, "2021-03-01"))):
            manifest, _ = self.client_of(aco).export(path)
            self.assertEqual((manifest["output"], manifest["error"], manifest["deleted"]), ([], [], []))
        # And when everybody of an ACO has left, which had someone.
        other = self.client_of("A9996")
        self.assertEqual(len(other.export(wire.GROUP)[0]["output"]), 3)
        self.load_roster("2022-01-01T00:00:00", {501}, aco="A9996")
        self.assertEqual(other.export(wire.GROUP)[0]["output"], [])
        # A Patient that comes at last makes his beneficiary new, with the claims that were there before.
        given = client.export(wire.GROUP)[0]["transactionTime"]
        claims = [wire.line("ExplanationOfBenefit", 510, "2021-06-01T00:00:00Z", item) for item in range(3)]
        self.site.ctl("import", self.site.write("late.ndjson", "\n".join(claims) + "\n"))
        self.assertEqual(client.export(wire.since(wire.GROUP, given))[0]["output"], [])
        given = client.export(wire.GROUP)[0]["transactionTime"]
        self.site.ctl("import", self.site.write("late.ndjson", wire.line("Patient", 510, "2021-06-01T00:00:00Z") + "\n"))
        manifest, _ = client.export(wire.since(wire.GROUP, given))
        self.assertEqual([(item["type"], item["count"]) for item in manifest["output"]], [("ExplanationOfBenefit", 3), ("Patient", 1)])

    def test_the_state_of_attribution(self):
        client = self.start()
        status, _, body = client.request("/api/v1/attribution_status")
        self.assertEqual(status, 404)
        self.assertEqual(wire.issue(body)["code"], "not-found")
        last = None
        for instant, members, tenth in self.ROSTERS:
            before = time.time()
            self.load_roster(instant, members, tenth)
            status, headers, body = client.request("/api/v1/attribution_status")
            self.assertEqual((status, headers["content-type"]), (200, "application/json"))
            dates = json.loads(body)["ingestion_dates"]
            self.assertEqual([list(date) for date in dates], [["timestamp", "type"]])
            self.assertEqual(dates[0]["type"], "last_attribution_update")
            us = microseconds(dates[0]["timestamp"].replace("Z", "+00:00"))
            self.assertTrue(before - 1 <= us / 1e6 <= time.time() + 1, dates)
            self.assertTrue(last is None or us > last)
            last = us
        self.assertEqual(self.client_of("A9995").request("/api/v1/attribution_status")[0], 404)


if __name__ == "__main__":
    unittest.main()
