"""docs/assemblies.md: each requirement of an assembly has tests that exist, or is told as missing."""

import re
from pathlib import Path

import pytest
from support.service import ROOT
from support.toml import load

PAGE = (ROOT / "docs" / "assemblies.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\| \d+\.\d+ .*", PAGE, re.MULTILINE)
]
TESTS = {
    test
    for path in (ROOT / "tests").rglob("test_*.py")
    for test in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}

# The requirements of each owner, counted.
ROWS_REQUIRED = {0: range(1, 19), 1: range(1, 21), 2: range(1, 15), 4: range(1, 11)}


def test_the_rows_of_an_assembly_are_all_there() -> None:
    numbers = [(int(section), int(row)) for section, _, row in (number.partition(".") for number, *_ in ROWS)]
    assert numbers == [(section, row) for section, rows in ROWS_REQUIRED.items() for row in rows]


@pytest.mark.parametrize("row", ROWS, ids=[number for number, *_ in ROWS])
def test_a_requirement_names_tests_that_exist_or_says_why_not(row: list[str]) -> None:
    _, _, tests = row
    named = re.findall(r"`(test_\w+)`", tests)
    assert named or re.search(r"\bmissing\b|nothing to test", tests)
    assert {*named} <= TESTS


@pytest.mark.parametrize("toml", sorted((ROOT / "misc" / "assemblies").rglob("*.toml")), ids=lambda path: path.stem)
def test_a_toml_has_nothing_to_warn_of(toml: Path) -> None:
    """But of what is required: `/stats` and `/status` for any client."""
    assert [str(each) for each in load(toml).warnings if ".show: tells any client" not in str(each)] == []
