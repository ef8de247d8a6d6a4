"""API keys, and the key that receipts are signed with."""

from datetime import datetime
from uuid import UUID

import click

from registry import access, receipts, senders
from registry.access import Scope
from registry.cli.command import choice, main, writing
from registry.config import Settings


@main.group()
def key() -> None:
    """Make and revoke API keys; rotate the key that receipts are signed with."""


@key.command("issue")
@click.argument("organisation_id", type=click.UUID)
@click.option("--scope", "scopes", type=choice(Scope), multiple=True, required=True)
@click.option("--expires", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]))
def key_issue(organisation_id: UUID, scopes: tuple[str, ...], expires: datetime | None) -> None:
    """Make a key and show it, this once."""
    with writing() as (opened, session):
        _row, text = access.issue(
            session,
            senders.find(session, organisation_id),
            list(map(Scope, scopes)),
            expires,
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(text)


@key.command("revoke")
@click.argument("organisation_id", type=click.UUID)
@click.argument("key_id", type=click.UUID)
def key_revoke(organisation_id: UUID, key_id: UUID) -> None:
    """End a key at once. Its id is what stands before the point."""
    with writing() as (opened, session):
        access.revoke(session, organisation_id, key_id, actor_id=None, now=opened.clock())
    click.echo("revoked")


@key.command("rotate-signing")
def key_rotate_signing() -> None:
    """Sign receipts with a new key; the old ones stay published. Then send SIGHUP to serve."""
    click.echo(receipts.rotate(Settings.from_environment().signing_key_path))
