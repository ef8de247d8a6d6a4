"""What tests of the console need: members with both factors, and a browser that signs them in."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache

import pyotp
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import members
from registry.members import accounts, passwords, second_factor, sessions
from registry.models import Member, MemberRole, Organisation
from registry.runtime import Registry
from tests.factories import Clock, World
from tests.portal import Browser

PASSWORD = "seven quiet herons"
"""Of every member that tests make."""


@cache
def password_hash() -> str:
    """Return the hash of `PASSWORD`, which takes a tenth of a second to make."""
    return passwords.choose(PASSWORD, email="nobody@example.cn", name="Nobody")


def make_member(
    world: World,
    organisation: Organisation | None = None,
    role: MemberRole = MemberRole.ADMIN,
    email: str | None = None,
    name: str | None = None,
) -> Member:
    """Return a member, by default of `sender`, who was invited, joined and has both factors."""
    where = organisation or world.sender
    return world.do(
        lambda session: add_member(
            session,
            where,
            role,
            email or f"{role}@{where.name.replace(' ', '-')}.example.cn",
            name or f"{where.name} {role}",
            world.registry.clock(),
        )
    )


def add_member(
    session: Session,
    where: Organisation,
    role: MemberRole,
    email: str,
    name: str,
    now: datetime,
) -> Member:
    """Invite somebody, let them join, and set the second factor up."""
    row, code = members.invite(session, where.id, email, name, role, actor_id=None, now=now)
    invited = members.begin_join(session, row.email, code, address="192.0.2.9", now=now)
    assert invited is not None
    token = members.join(session, invited, password_hash(), address="192.0.2.9", now=now)
    here = sessions.find_session(session.connection(), token, now)
    assert here is not None
    secret = row.totp_secret or ""
    assert members.confirm_second_factor(session, here, second_factor.demo_code(secret, now), now)
    # As if that had been long ago: tests sign in at once.
    row.totp_step = None
    members.end_all(session, row.id, now)
    return row


def code_of(registry: Registry, email: str) -> str:
    """Return what the app of a member shows."""
    with registry.database.snapshot() as session:
        row = session.scalars(
            select(Member).where(
                Member.email_digest == accounts.email_digest(session, email),
                Member.ended_at.is_(None),
            )
        ).one()
    return pyotp.TOTP(row.totp_secret or "").at(for_time=registry.clock())


@dataclass
class Console(Browser):
    """A browser of somebody who works for an organisation."""

    def password(self, email: str, password: str = PASSWORD) -> "Console":
        """Enter e-mail and password."""
        self.get("/console/sign-in")
        self.post("/console/sign-in", {"email": email, "password": password})
        return self

    def enter(self, member: Member) -> "Console":
        """Sign a member in with both factors, once the last code is over."""
        clock = self.registry.clock
        assert isinstance(clock, Clock)
        clock.pass_(seconds=30)
        self.password(member.email)
        assert self.page.request.path == "/console/sign-in/code", self.shown
        self.post("/console/sign-in/code", {"code": code_of(self.registry, member.email)})
        assert self.page.request.path == "/console/", self.shown
        return self

    def confirm(self, email: str) -> "Console":
        """Enter the first code of a second factor that is being set up."""
        self.post("/console/second-factor", {"code": code_of(self.registry, email)})
        return self

    def enter_again(self, member: Member) -> "Console":
        """Sign in from the page that asks for it, to see the page that was wanted."""
        clock = self.registry.clock
        assert isinstance(clock, Clock)
        clock.pass_(seconds=30)
        self.post("/console/sign-in", {"email": member.email, "password": PASSWORD})
        self.post("/console/sign-in/code", {"code": code_of(self.registry, member.email)})
        return self
