"""What waits for an operator's decision, as one queue, and what helps to decide it.

Ids are in the order of time, so that applications, claims and appeals of one time lie beside each
other whichever table they come from.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, func, literal, or_, select
from sqlalchemy.orm import Session, joinedload

from registry.models import (
    Appeal,
    Application,
    ApplicationState,
    NumberClaim,
    Organisation,
    OrganisationVersion,
    SenderNumber,
)
from registry.numbers import SendingNumber
from registry.senders import tree
from registry.senders.applications import applications
from registry.senders.claims import claims
from registry.senders.organisations import PAGE, find, history
from registry.senders.suspensions import open_appeals

ALIKE = 10
"""Organisations with a similar name, and claims of the same number, that are shown at most."""
SHORTEST_PART = 2
"""Characters of a name's part that is looked for in other names; Latin letters say less each."""
SHORTEST_LATIN_PART = 4


class Review(StrEnum):
    """What is to be decided."""

    APPLICATION = "application"
    CHANGE = "change"
    CLAIM = "claim"
    APPEAL = "appeal"


@dataclass(frozen=True)
class Item:
    """Something that waits: what it is, whose, since when, and the number that it is about."""

    kind: Review
    id: UUID
    who: str
    since: datetime
    number: str | None = None


def queue(session: Session, after: UUID | None = None, most: int = PAGE) -> list[Item]:
    """Return a page of what waits, the oldest first; `after` is the last one of the page before."""
    waiting = ApplicationState.SUBMITTED
    found = [_of_application(row) for row in applications(session, state=waiting, after=after)]
    found += [
        Item(Review.CLAIM, row.id, row.claimant.name, row.recorded_at, row.number)
        for row in claims(session, state=waiting, after=after)
    ]
    found += _of_appeals(session, open_appeals(session, after))
    return sorted(found, key=lambda item: item.id)[:most]


def next_item(session: Session, after: UUID) -> Item | None:
    """Return what waits next after something, or first of all where nothing is newer."""
    for start in (after, None):
        found = [item for item in queue(session, start, 2) if item.id != after]
        if found:
            return found[0]
    return None


def _of_application(row: Application) -> Item:
    kind = Review.APPLICATION if row.organisation_id is None else Review.CHANGE
    return Item(kind, row.id, row.name, row.recorded_at)


def _of_appeals(session: Session, rows: Sequence[Appeal]) -> list[Item]:
    ids = {row.suspension.organisation_id for row in rows}
    names = {
        row.id: row.name
        for row in session.execute(
            select(Organisation.id, Organisation.name).where(Organisation.id.in_(ids))
        )
    }
    return [
        Item(Review.APPEAL, row.id, names[row.suspension.organisation_id], row.recorded_at)
        for row in rows
    ]


# Applications


def before(session: Session, row: Application) -> Organisation | OrganisationVersion | None:
    """Return what an organisation was known by before an application of it counted.

    There is nothing before one that registers it.
    """
    if row.organisation_id is None:
        return None
    versions = history(session, row.organisation_id)
    for index, version in enumerate(versions):
        if version.application_id == row.id:
            return versions[index - 1] if index else None
    return find(session, row.organisation_id)


def earlier(session: Session, row: Application) -> Sequence[Application]:
    """Return the other applications of the same code, the newest first, up to some."""
    return session.scalars(
        select(Application)
        .where(Application.uscc == row.uscc, Application.id != row.id)
        .order_by(Application.id.desc())
        .limit(ALIKE)
    ).all()


def similar(session: Session, row: Application) -> Sequence[Organisation]:
    """Return other organisations whose name has part of an applicant's in it, or is part of it.

    Spaces, case, the legal form and the province do not count.
    """
    known = func.replace(func.lower(Organisation.name), " ", "")
    alike = [known.contains(part, autoescape=True) for part in name_parts(row.name)]
    whole = literal(_folded(row.name))
    query = (
        select(Organisation)
        .where(or_(*alike, whole.contains(known)), Organisation.uscc != row.uscc)
        .order_by(Organisation.name, Organisation.id)
        .limit(ALIKE)
    )
    return session.scalars(query).all()


_FORM = re.compile(
    r"(有限责任公司|股份有限公司|股份公司|有限公司|集团|公司|分公司"
    r"|co\.?,?ltd\.?|corporation|limited|company|ltd\.?|inc\.?|llc|group)+$"
)
_PLACE = re.compile(
    r"^(中国|北京|天津|上海|重庆|河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南"
    r"|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾|内蒙古|广西|西藏|宁夏|新疆"
    r"|香港|澳门)(省|市|(维吾尔|壮族|回族)?自治区|特别行政区)?"
)


def name_parts(name: str) -> list[str]:
    """Return what tells an organisation from others in its name, in each of its scripts."""
    found = []
    for part in re.findall(r"[㐀-鿿]+|[a-z0-9]+(?:[ .,&'-]+[a-z0-9]+)*", _plain(name)):
        text = _PLACE.sub("", _FORM.sub("", part.replace(" ", "")))
        least = SHORTEST_LATIN_PART if text.isascii() else SHORTEST_PART
        if len(text) >= least:
            found.append(text)
    return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).lower()


def _folded(name: str) -> str:
    return _plain(name).replace(" ", "")


# Claims


@dataclass(frozen=True)
class Around:
    """Who else has to do with a number that is claimed: what is held, and what is claimed."""

    same: SenderNumber | None
    above: Sequence[SenderNumber]
    beneath: Sequence[SenderNumber]
    claims: Sequence[NumberClaim]

    def others(self, organisation_id: UUID) -> bool:
        """Tell whether any of it is held by another organisation."""
        held = [*self.above, *self.beneath, *([self.same] if self.same else [])]
        return any(row.organisation_id != organisation_id for row in held)


def around(session: Session, row: NumberClaim) -> Around:
    """Return what is held and claimed of the number of a claim, above and beneath it."""
    number = SendingNumber(row.number, row.kind)
    touching: list[ColumnElement[bool]] = [NumberClaim.number.in_(number.holdings)]
    if number.extendable:
        touching.append(NumberClaim.number.startswith(number.text, autoescape=True))
    other_claims = session.scalars(
        select(NumberClaim)
        .options(joinedload(NumberClaim.claimant))
        .where(
            or_(*touching),
            NumberClaim.state == ApplicationState.SUBMITTED,
            NumberClaim.id != row.id,
        )
        .order_by(NumberClaim.id)
        .limit(ALIKE)
    ).all()
    return Around(
        tree.same(session, number), tree.above(session, number), _beneath(session, number),
        other_claims,
    )  # fmt: skip


def _beneath(session: Session, number: SendingNumber) -> Sequence[SenderNumber]:
    if not number.extendable:
        return []
    query = tree.of(*tree.lies_beneath(number)).order_by(SenderNumber.number)
    return session.scalars(query.limit(ALIKE)).all()
