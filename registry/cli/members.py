"""Members of organisations: the first one of each is invited here, and an admin helped."""

from uuid import UUID

import click

from registry import members, senders
from registry.cli.command import choice, main, opening, writing
from registry.models import MemberRole


@main.group()
def member() -> None:
    """Invite people to the console, and help them when they cannot get in."""


@member.command("invite")
@click.argument("organisation_id", type=click.UUID)
@click.argument("email")
@click.argument("name")
@click.option("--role", type=choice(MemberRole), default=MemberRole.ADMIN.value, show_default=True)
def member_invite(organisation_id: UUID, email: str, name: str, role: str) -> None:
    """Invite somebody, and show the code to pass on, this once; it is good for 72 hours."""
    with writing() as (opened, session):
        senders.find(session, organisation_id)
        _row, code = members.invite(
            session,
            organisation_id,
            email,
            name,
            MemberRole(role),
            actor_id=None,
            now=opened.clock(),
        )
    click.echo(code)


@member.command("list")
@click.argument("organisation_id", type=click.UUID)
def member_list(organisation_id: UUID) -> None:
    """List an organisation's team."""
    with opening() as opened, opened.database.snapshot() as session:
        senders.find(session, organisation_id)
        for row in members.team(session, organisation_id):
            state = "joined" if row.joined_at else "invited"
            click.echo(f"{row.id}  {row.role:6}  {state:7}  {row.email}  {row.name}")


@member.command("code")
@click.argument("organisation_id", type=click.UUID)
@click.argument("member_id", type=click.UUID)
def member_code(organisation_id: UUID, member_id: UUID) -> None:
    """Show a code with which a member joins, or sets a new password, this once."""
    with writing() as (opened, session):
        code = members.new_code(
            session, organisation_id, member_id, actor_id=None, now=opened.clock()
        )
    click.echo(code)


@member.command("reset")
@click.argument("organisation_id", type=click.UUID)
@click.argument("member_id", type=click.UUID)
def member_reset(organisation_id: UUID, member_id: UUID) -> None:
    """Forget a member's second factor; the next sign-in sets up a new one."""
    with writing() as (opened, session):
        members.reset_second_factor(
            session, organisation_id, member_id, actor_id=None, now=opened.clock()
        )
    click.echo("reset")


@member.command("end")
@click.argument("organisation_id", type=click.UUID)
@click.argument("member_id", type=click.UUID)
def member_end(organisation_id: UUID, member_id: UUID) -> None:
    """Take a member out of the team, at once."""
    with writing() as (opened, session):
        members.end(session, organisation_id, member_id, actor_id=None, now=opened.clock())
    click.echo("ended")
