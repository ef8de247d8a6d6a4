"""What people see of files and of platforms before they decide, on both databases."""

import pytest

from registry import senders
from registry.errors import Kind, RegistryError
from registry.imports import looking
from registry.models import OrganisationKind
from registry.numbers import parse_sending
from tests.factories import OTHER_PORT, SMS_PORT, World, make_organisation


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("13800138000", "138****8000"),
        ("+86 138-0013-8000", "138****8000"),
        ("１３８００１３８０００", "138****8000"),
        ("call 138 0013 8000 now", "call ####### now"),
        ("2026-11-30T10:00:00+08:00", "2026-11-30T10:00:00+08:00"),
        ("2026-11-30", "2026-11-30"),
        ("retail", "retail"),
        ("a\x00b\udc80", "a b?"),
        ("x" * 70, "x" * 60 + "..."),
        ("1-" * 40_000, "#######-"),
    ],
)
def test_cells_are_shown_without_numbers(cell: str, shown: str) -> None:
    assert looking.masked(cell, "CN") == shown


def test_platforms_are_found_by_name_or_code(world: World) -> None:
    first = world.do(lambda session: make_organisation(session, OrganisationKind.PROVIDER, 71))
    second = world.do(lambda session: make_organisation(session, OrganisationKind.PROVIDER, 72))

    def found(written: str) -> list[str]:
        rows = world.do(lambda session: senders.search_providers(session, written))
        return [row.name for row in rows]

    assert found("") == found("PROVIDER") == [first.name, second.name]
    assert found(f" {second.uscc.lower()} ") == [second.name]
    assert found("%") == found("sender") == []


def test_holding_is_shown_to_its_holder_by_id_or_number(world: World) -> None:
    def held(which: object, who: object = world.sender.id) -> str:
        return world.do(
            lambda session: senders.own_holding(session, which, who).number  # type: ignore[arg-type]
        )

    [first, *_] = world.do(lambda session: senders.holdings(session, world.sender.id))
    assert held(first.id) == held(parse_sending(first.number)) == SMS_PORT
    for which, who in (
        (first.id, world.other_sender.id),
        (parse_sending(OTHER_PORT), world.sender.id),
        (parse_sending(SMS_PORT + "1"), world.sender.id),
    ):
        with pytest.raises(RegistryError) as raised:
            held(which, who)
        assert raised.value.kind is Kind.NOT_FOUND
