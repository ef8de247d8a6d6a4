"""What the database itself refuses: holdings that share a number at a time, past every use case."""

from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError

from registry import database
from registry.database import Database
from registry.models import SenderNumber
from registry.numbers import ResourceKind
from tests.conftest import KEY
from tests.factories import START, World

PORT = "10690007777"
DAY = timedelta(days=1)


def day(number: int | None) -> datetime | None:
    return None if number is None else START + number * DAY


def row(
    organisation_id: UUID,
    number: str = PORT,
    *,
    days: tuple[int, int | None] = (0, None),
    released: int | None = None,
    parent: UUID | None = None,
    depth: int | None = None,
    kind: ResourceKind = ResourceKind.PORT,
) -> dict[str, Any]:
    """Return a holding as a row, from one day to another."""
    return {
        "id": uuid4(),
        "number": number,
        "kind": kind,
        "organisation_id": organisation_id,
        **dict.fromkeys(("sms", "commercial"), True),
        **dict.fromkeys(("voice", "service", "public"), False),
        "held_from": day(days[0]),
        "held_until": day(days[1]),
        "recorded_at": START,
        "released_at": day(released),
        "parent_id": parent,
        "depth": depth if depth is not None else int(parent is not None),
    }


def put(world: World, *rows: dict[str, Any]) -> None:
    world.do(lambda session: session.execute(insert(SenderNumber), list(rows)))


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ({}, {"number": PORT + "1"}),
        ({}, {"number": PORT[:-1]}),
        ({"number": PORT + "1"}, {"number": PORT[:8]}),
        ({"days": (0, 10)}, {"number": PORT + "1", "days": (9, 20)}),
        ({"days": (5, None)}, {"number": PORT + "1", "days": (0, 6)}),
        ({"days": (0, 10)}, {"days": (5, 20), "released": 7}),
        ({"released": 10}, {"days": (9, None)}),
        ({"number": "95014", "kind": ResourceKind.SERVICE_95},
         {"number": "95014000001", "kind": ResourceKind.SERVICE_950}),
        ({"number": "4001112222", "kind": ResourceKind.SERVICE_400},
         {"number": "4001112222", "kind": ResourceKind.SERVICE_400, "released": 3}),
    ],
)  # fmt: skip
def test_database_refuses_what_shares_a_number_at_a_time(
    world: World, held: dict[str, Any], wanted: dict[str, Any]
) -> None:
    put(world, row(world.sender.id, **held))
    with pytest.raises(IntegrityError):
        put(world, row(world.other_sender.id, **wanted))
    harmless = row(world.other_sender.id, **{**wanted, "number": "10661111111"})
    put(world, harmless)
    change = update(SenderNumber).where(SenderNumber.id == harmless["id"])
    with pytest.raises(IntegrityError):  # Nor does it come in by a change.
        world.do(lambda session: session.execute(change.values(number=wanted.get("number", PORT))))


def test_database_takes_what_shares_no_time_or_only_an_end(world: World) -> None:
    mine, other = world.sender.id, world.other_sender.id
    put(
        world,
        row(mine, released=10),
        row(other, days=(10, 20), released=15),  # Dates that touch.
        row(mine, PORT + "1", days=(15, 20)),  # Between a release and the end that was meant.
        row(other, PORT[:-1], days=(20, None)),
        row(mine, PORT[:-1] + "8", days=(12, 20)),  # It only resembles the others.
        row(other, days=(5, None), released=5),  # Released before it was held for any time.
        row(mine, days=(3, 9), released=1),  # Released before it began.
    )


def test_database_takes_an_extension_at_its_depth_and_no_second_one(world: World) -> None:
    mine, other = world.sender.id, world.other_sender.id
    port = row(mine)
    put(world, port)
    put(world, row(other, PORT + "1", parent=port["id"]))
    for number in (PORT + "1", PORT + "12"):
        with pytest.raises(IntegrityError):
            put(world, row(mine, number, parent=port["id"], released=9))
    put(world, row(mine, PORT + "2", parent=port["id"]))
    for wrong in ({"depth": 1}, {"parent": port["id"], "depth": 0}):
        with pytest.raises(IntegrityError):
            put(world, row(mine, PORT + "3", **wrong))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Lend a database in which nothing is yet."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'registry.db'}"
    else:
        url = request.getfixturevalue("new_postgresql")
    with closing(Database(url, KEY, patience=None)) as opened:
        yield opened


def test_numbers_within_numbers_become_extensions_when_upgraded(empty: Database) -> None:
    """The schema before took any numbers of one organisation, within each other or not."""
    database.upgrade(empty.url, "0003")
    numbers = {
        "port": ("106900000", 0, None, None),
        "beneath": ("1069000001", 0, None, None),
        "deepest": ("10690000012", 5, None, None),
        "later": ("1069000003", 30, None, None),
        "before": ("1069000004", 0, 10, None),
        "released": ("1069000001234", 0, None, 4),
        "apart": ("106900001", 0, None, None),
        "gone": ("10690000", 0, None, 5),
        "landline": ("+861062301000", 0, None, None),
    }
    ids = {name: uuid4() for name in numbers}
    with empty.write() as session:
        session.execute(
            text(
                "INSERT INTO organisations (id, kind, name, uscc, contact_phone, recorded_at)"
                " VALUES (:id, 'sender', 'S', '911100000000000000', '4001234567', :at)"
            ),
            {"id": ids["port"].hex, "at": START.replace(tzinfo=None).isoformat(" ")},
        )
        for name, (number, first, last, released) in numbers.items():
            kind = "landline" if name == "landline" else "port"
            values = {
                "id": ids[name].hex, "number": number, "kind": kind, "holder": ids["port"].hex,
                **{
                    key: at and at.replace(tzinfo=None).isoformat(" ")
                    for key, at in (
                        ("first", day(first)), ("last", day(last)), ("released", day(released)),
                    )
                },
            }  # fmt: skip
            session.execute(
                text(
                    "INSERT INTO sender_numbers (id, number, kind, organisation_id, sms, voice,"
                    " commercial, service, public, held_from, held_until, recorded_at,"
                    " released_at) VALUES (:id, :number, :kind, :holder, true, false, true, false,"
                    " false, :first, :last, :first, :released)"
                ),
                values,
            )
    database.upgrade(empty.url)
    named = {found: name for name, found in ids.items()}
    with empty.read() as connection:
        columns = SenderNumber.id, SenderNumber.parent_id, SenderNumber.depth
        trees = {
            named[found]: (named.get(parent), depth)  # type: ignore[arg-type]
            for found, parent, depth in connection.execute(select(*columns))
        }
    assert trees == {
        "gone": (None, 0),
        "port": ("gone", 1),
        "beneath": ("port", 2),
        "deepest": ("beneath", 3),
        "released": ("beneath", 3),
        "later": ("port", 2),
        "before": ("port", 2),
        "apart": ("gone", 1),
        "landline": (None, 0),
    }
