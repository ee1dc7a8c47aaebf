"""docs/conformance.md has a row for every statement, and each row names tests that exist.

The routes, errors, headings and commands are counted in ../shared, so that a new one there is missed here.
"""

import ast
import functools
import glob
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

NOT_YET, NOT_OURS = "**Not yet**", "—"
# What ../shared/api.md had when the rows were written, beside routes and errors: paragraphs and items of a section.
# A change is to be looked at: it may be a new promise. Then the number changes here.
CONTRACT_PARTS = {"1": 2, "2": 6, "3": 10, "4": 3, "5": 4, "6": 1, "7": 1, "8": 1, "9": 6}
READ_OTHERWISE = ["G14.4", "G5.5", "C4", "C18", "A34.1"]  # these at least are explained


def text_of(*parts):
    with open(os.path.join(sluice.ROOT, *parts), encoding="utf-8") as file:
        return file.read()


def shared_contract():
    path = os.path.join(sluice.SHARED, "api.md")
    if not os.path.exists(path):
        raise AssertionError(f"{path} is absent: this test reads the contract beside the repository")
    with open(path, encoding="utf-8") as file:
        return file.read()


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def table_rows(text):
    """The rows of all tables in a text, without heads."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        found += [cells(line) for line in table.splitlines()[2:]]
    return found


def part(document, heading):
    """From a heading to the next one of its rank."""
    rank = heading.split(" ")[0]
    return re.split(rf"^#{{1,{len(rank)}}} ", f"\n{document}\n".split(f"\n{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def tests_named(cell):
    return re.findall(r"`(\w+(?:\.py)?(?:::\w+)+)`", cell)


@functools.cache
def python_tests():
    found = set()
    for path in glob.glob("tests/**/test_*.py", root_dir=sluice.ROOT, recursive=True):
        for node in ast.parse(text_of(path)).body:
            if isinstance(node, ast.ClassDef):
                found |= {f"{os.path.basename(path)}::{node.name}::{function.name}" for function in node.body
                          if isinstance(function, ast.FunctionDef) and function.name.startswith("test")}
    return found


@functools.cache
def c_tests():
    """Functions of cmocka's form that stand a second time in their file: in its list of tests."""
    found = set()
    for path in glob.glob("tests/unit/**/*_test.c", root_dir=sluice.ROOT, recursive=True):
        text = text_of(path)
        for name in re.findall(r"^static void\s(\w+)\(void \*\*\w+\)", text, flags=re.MULTILINE):
            if len(re.findall(rf"\b{name}\b", text)) > 1:
                found.add(f"{os.path.basename(path)[:-2]}::{name}")
    return found


class ConformanceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.document = text_of("docs", "conformance.md")
        cls.statements = []
        for heading in ("## The getting-started guide", "## The advanced guide", "## The contract"):
            cls.statements += table_rows(part(cls.document, heading))
        cls.numbers = [row[0] for row in cls.statements]

    def listed(self, heading):
        """The numbers in the first cells of a table."""
        return [number for row in table_rows(part(self.document, heading)) for number in row[0].split(", ")]

    def count_of(self, prefix):
        return len([number for number in self.numbers if number.startswith(prefix)])

    # ---- every row ----

    def test_a_number_stands_for_one_statement(self):
        self.assertGreater(len(self.numbers), 200)
        self.assertEqual(sorted(self.numbers), sorted(set(self.numbers)))
        for number in self.numbers:
            self.assertRegex(number, r"^(?:[GA]\d+\.\d+|C\d+|[1-9]\.\d+)$")

    def test_every_row_names_a_test_or_says_that_there_is_none(self):
        not_yet, not_ours = [], []
        for row in self.statements:
            with self.subTest(row[0]):
                self.assertEqual(len(row), 3)
                if row[2].startswith(NOT_YET):
                    not_yet.append(row[0])
                elif row[2] == NOT_OURS:
                    not_ours.append(row[0])
                else:
                    self.assertTrue(tests_named(row[2]), "no test")
        self.assertEqual(sorted(self.listed("## Not there yet")), sorted(not_yet))
        self.assertEqual(sorted(self.listed("## Not the server's")), sorted(not_ours))

    def test_every_test_exists(self):
        known = python_tests() | c_tests()
        self.assertGreater(len(known), 500)
        for row in table_rows(self.document):
            # What stands in a cell of tests in code is the name of one.
            for name in re.findall(r"`([^`]*::[^`]*)`", row[-1]):
                self.assertTrue(name in known, f"{row[0]}: there is no {name}")
            for name in re.findall(r"`(test_[^`:]*)`", row[-1]):
                self.fail(f"{row[0]}: {name} lacks its class")

    def test_what_is_read_otherwise_has_a_reason_and_a_test(self):
        rows = table_rows(part(self.document, "## Read otherwise"))
        numbers = self.listed("## Read otherwise")
        marked = [row[0] for row in self.statements if row[1].endswith(" *")]
        self.assertEqual(sorted(set(numbers)), sorted(marked), "an asterisk leads to a row")
        self.assertLessEqual(set(READ_OTHERWISE), set(numbers))
        for row in rows:
            with self.subTest(row[0]):
                self.assertEqual(len(row), 5)
                self.assertTrue(all(row))
                self.assertTrue(tests_named(row[4]))

    # ---- nothing is left out ----

    def test_every_route_of_the_contract_has_a_row(self):
        routes = table_rows(part(shared_contract(), "## 1. Routes"))
        self.assertGreater(len(routes), 15)
        rows = {row[0]: row[1] for row in self.statements}
        for number, route in enumerate(routes, 1):
            for code in re.findall(r"`([^`]+)`", route[0]):
                self.assertIn(f"`{code}`", rows.get(f"1.{number}", ""), f"1.{number}")

    def test_every_error_of_the_contract_has_a_row(self):
        errors = table_rows(part(shared_contract(), "## 2. Errors"))
        self.assertGreater(len(errors), 20)
        rows = {row[0]: row[1] for row in self.statements}
        for number, error in enumerate(errors, 1):
            codes = sorted(re.findall(r"\b[45]\d\d\b", error[1]))
            self.assertEqual(sorted(re.findall(r"\b[45]\d\d\b", rows.get(f"2.{number}", ""))), codes, (number, error[0]))

    def test_the_contract_promises_what_it_promised(self):
        sections = re.split(r"^## (\d)\. .*$", shared_contract(), flags=re.MULTILINE)[1:]
        found = {}
        for number, text in zip(sections[::2], sections[1::2], strict=True):
            text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
            text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
            text = re.sub(r"^- ", "\n- ", text, flags=re.MULTILINE)
            found[number] = len([block for block in re.split(r"\n\s*\n", text) if block.strip()])
            self.assertGreater(self.count_of(f"{number}."), 1, "a section without rows")
        self.assertEqual(found, CONTRACT_PARTS)

    def test_every_part_of_the_guides_has_a_row(self):
        for letter, name in (("G", "getting-started.md"), ("A", "advanced-guide.md")):
            text = re.sub(r"^```.*?^ *```$", "", wire.shared_guide(name), flags=re.MULTILINE | re.DOTALL)
            headings = re.findall(r"^#+ .*$", text, flags=re.MULTILINE)
            self.assertGreater(len(headings), 10)
            for number, heading in enumerate(headings, 1):
                self.assertGreater(self.count_of(f"{letter}{number}."), 0, heading)
            self.assertEqual(self.count_of(f"{letter}{len(headings) + 1}."), 0)

    def test_every_command_of_the_advanced_guide_has_a_row(self):
        commands = re.findall("^`?curl ", wire.shared_guide("advanced-guide.md"), flags=re.MULTILINE)
        self.assertEqual([number for number in self.numbers if number.startswith("C")],
                         [f"C{number}" for number in range(1, len(commands) + 1)])


if __name__ == "__main__":
    unittest.main()
