"""No row of the lecture is without a test: a test's name begins with the sections and rows that it reproduces."""

import re
from pathlib import Path

SECTIONS = {f"L{number}" for number in range(1, 18)}
ROWS = {f"S{number}" for number in range(1, 27)}


def test_every_section_and_every_row_has_a_test():
    """`pytest tests/lecture -k L12` finds the delta recursion, and nothing of the lecture goes missing."""
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    names = re.findall(r"^def (test_\w+)", source, re.MULTILINE)
    assert {row for name in names for row in re.findall(r"(?<=_)[LS]\d+(?=_)", name)} == SECTIONS | ROWS
