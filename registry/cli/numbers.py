"""Who holds which sending number."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TextIO
from uuid import UUID

import click

from registry import senders
from registry.cli import number_lines
from registry.cli.command import NO, choice, main, opening, writing
from registry.consent import Channel, MessageClass
from registry.ledger.bulk import Outcome
from registry.numbers import parse_sending


@main.group()
def number() -> None:
    """Record who holds which sending number."""


@number.command("hold")
@click.argument("organisation_id", type=click.UUID)
@click.argument("sending_number")
@click.option("--channel", "channels", type=choice(Channel), multiple=True, required=True)
@click.option("--usage", "usages", type=choice(MessageClass), multiple=True, required=True)
@click.option("--from", "held_from", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
@click.option("--until", "held_until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
def number_hold(
    organisation_id: UUID,
    sending_number: str,
    channels: tuple[str, ...],
    usages: tuple[str, ...],
    held_from: datetime | None,
    held_until: datetime | None,
) -> None:
    """Record that an organisation holds a sending number."""
    with writing() as (opened, session):
        row = senders.hold(
            session,
            organisation_id,
            parse_sending(sending_number, opened.policy.default_region),
            senders.Holding(
                tuple(map(Channel, channels)),
                tuple(map(MessageClass, usages)),
                held_from,
                held_until,
            ),
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(f"{row.number}  {row.kind}")


@number.command("release")
@click.argument("organisation_id", type=click.UUID)
@click.argument("sending_number")
def number_release(organisation_id: UUID, sending_number: str) -> None:
    """End an organisation's holding of a sending number."""
    with writing() as (opened, session):
        sending = parse_sending(sending_number, opened.policy.default_region)
        senders.release(session, organisation_id, sending, actor_id=None, now=opened.clock())
    click.echo("released")


@number.command("show")
@click.argument("sending_number")
def number_show(sending_number: str) -> None:
    """Tell who holds a sending number."""
    with opening() as opened, opened.database.snapshot() as session:
        sending = parse_sending(sending_number, opened.policy.default_region)
        found = senders.resolve(session, sending, opened.clock())
        row = found.holding
        click.echo(f"{row.number}  {row.kind}  {row.holder.id}  {row.holder.name}")
        if found.provider is not None:
            click.echo(f"through  {found.provider.id}  {found.provider.name}")


@number.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--report",
    type=click.File("w", encoding="utf-8", lazy=False),
    default="-",
    help="Where to write what became of each line; by default to the screen.",
)
def number_import(file: Path, report: TextIO) -> None:
    """Record the holdings that a CSV file lists, which may be run again with the same file.

    Its columns are organisation (the social credit code), number, channels, usages, held_from and
    held_until; the last two may be left out, and a date stands for a whole day in China. Exits
    with 1 when a line was rejected.
    """
    with opening() as opened:
        counts = number_lines.record(opened, file, report)
    click.echo("  ".join(f"{word} {counts[word]}" for word in Outcome), err=True)
    if counts[Outcome.REJECTED]:
        sys.exit(NO)
