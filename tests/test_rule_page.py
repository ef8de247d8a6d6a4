"""The page about the rule says what the code does."""

import re
from pathlib import Path

import pytest

from registry import policy
from registry.consent import RULES, Fact, Reason

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "rule.md").read_text("utf-8")


def table(*columns: str) -> list[list[str]]:
    """Return the rows of the one table of the page that has these columns."""
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    _, body = PAGE.split(head)
    rows = body.split("\n\n")[0].splitlines()
    return [row.strip("| ").split(" | ") for row in rows]


def test_the_table_of_the_page_is_that_of_the_code() -> None:
    assert table("order", "reason", "allowed", "when") == [
        [str(order), f"`{rule.reason}`", "yes" if rule.reason.allowed else "no", rule.when]
        for order, rule in enumerate(RULES, 1)
    ]


def test_the_page_says_what_establishes_each_fact_in_their_order() -> None:
    rows = table("fact", "established when")
    assert [fact for fact, _ in rows] == [f"`{fact.name}`" for fact in Fact]


@pytest.mark.parametrize("reason", Reason)
def test_the_page_names_every_reason(reason: Reason) -> None:
    assert f"`{reason}`" in PAGE


def test_the_page_explains_every_requirement_that_code_and_policies_refer_to() -> None:
    explained = {number for number, *_ in table("requirement", "asks for", "here")}
    sources = [*(ROOT / "registry").rglob("*.py"), *policy.FOLDER.glob("*.toml")]
    referred = {
        number for path in sources for number in re.findall(r"\bR[0-9]+\b", path.read_text("utf-8"))
    }
    assert {"R1", "R31"} <= explained
    assert referred <= explained


def test_the_page_links_to_pages_that_exist() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / link).is_file(), link
