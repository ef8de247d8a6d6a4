"""What an SMS says, in words, in at most three of its parts.

What a sender supplied, its name and the text that it asks with, is cut, and nothing in it can
be taken for a link or for the registry's own words.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from registry.config import Settings
from registry.consent import Channel, Topic
from registry.messenger import links, sms
from registry.messenger.subjects import Facts, facts
from registry.messenger.wording import CHINESE, LANGUAGES, Wording
from registry.models import OutboxItem

MOST_PARTS = 3
DEADLINES = {"answer_by"}
"""Facts of which the time of the day matters."""


class Room(NamedTuple):
    """How much of what is long a message shows: characters of a sender's text and name, topics,
    questions in a list, senders in a digest."""

    quote: int
    name: int
    topics: int
    questions: int
    senders: int


ROOMS = (
    Room(60, 20, 4, 4, 8),
    Room(40, 20, 4, 4, 6),
    Room(20, 20, 4, 4, 4),
    Room(0, 20, 4, 3, 3),
    Room(0, 12, 3, 3, 3),
    Room(0, 8, 2, 2, 1),
)
"""As much as leaves the message short enough."""


@dataclass(frozen=True)
class House:
    """What the registry says of itself: where its pages are, and the number its SMS come from.

    Without a number nobody can answer them, and no text asks for it.
    """

    portal: str
    number: str | None = None


def house(settings: Settings) -> House:
    """Return what the registry says of itself."""
    return House(settings.portal, settings.sms_number)


def word(session: Session, item: OutboxItem, house: House, now: datetime) -> str | None:
    """Return the text of a message; None when its subject does not call for it any more."""
    found = facts(session, item, now)
    if found is None:
        return None
    wording = LANGUAGES.get(item.language, CHINESE)
    for room in ROOMS:
        text = _write(item, found, wording, house, room)
        if len(sms.encode(text).parts) <= MOST_PARTS:
            break
    return text


def _write(item: OutboxItem, found: Facts, wording: Wording, house: House, room: Room) -> str:
    notice = found.get("as", item.notice)
    name = f"{notice}.{found['kind']}" if "kind" in found else notice.value
    templates = wording.texts
    fields = {
        **_plain(found, wording, ZoneInfo(item.number.zones[0]), room),
        "reply_code": "" if item.reply_code is None else item.reply_code,
        "portal": house.portal,
        "link": f"{house.portal}{links.PATH}{found.get('token', '')}",
        "to": "" if house.number is None else wording.to.format(house.number),
        "quote": _quote(found.get("asked"), wording, room),
        "effect": "" if found.get("effective", True) else templates[f"{notice}.no_effect"],
    }
    how = templates.get(f"{notice}.{'portal' if item.reply_code is None else 'answer'}", "")
    return wording.signature + templates[name].format(**fields, how=how.format(**fields))


def _plain(found: Facts, wording: Wording, zone: ZoneInfo, room: Room) -> dict[str, object]:
    """Return what a message says in the words of its language."""
    written: dict[str, object] = {name: value for name, value in found.items() if value is not None}
    for name, value in found.items():
        if isinstance(value, datetime):
            local = value.astimezone(zone)
            late = name in DEADLINES
            written[name] = wording.write_moment(local) if late else wording.write_day(local.date())
    sender = found.get("sender")
    written["sender"] = _named(sender, wording, room) if sender else wording.nobody
    written["scope"] = _scope(found, wording, room)
    if found.get("channel"):
        written["channel"] = wording.channels[found["channel"]]
    if "cap" in found:
        count, period = found["cap"]
        written["cap"] = wording.cap[period].format(count)
    if "topics" in found:
        written["topics"] = _topics(found["topics"], wording, room)
    if "list" in found:
        written["list"] = _list(found["list"], wording, room)
    if "senders" in found:
        written["senders"] = _senders(found["senders"], wording, room)
    return written


def _named(sender: str, wording: Wording, room: Room) -> str:
    return harmless(sender, room.name, wording.ellipsis) or wording.nobody


def _topics(topics: Sequence[Topic], wording: Wording, room: Room) -> str:
    names = [wording.topics[topic] for topic in topics]
    if len(names) <= room.topics:
        return wording.comma.join(names)
    shown = names[: room.topics - 1]
    more = wording.and_more.format(all=len(names), rest=len(names) - len(shown))
    return wording.comma.join(shown) + more


def _senders(names: Sequence[str | None], wording: Wording, room: Room) -> str:
    """Name the first of several senders, and say how many there are."""
    shown = [_named(name or "", wording, room) for name in names[: room.senders]]
    cut = len(shown) < len(names)
    return (wording.senders_and_more if cut else wording.senders).format(
        wording.comma.join(shown), all=len(names), rest=len(names) - len(shown)
    )


def _scope(found: Facts, wording: Wording, room: Room) -> str:
    """Say what a refusal covers."""
    channel, topic, sender = found.get("channel"), found.get("topic"), found.get("sender")
    about = wording.channels[Channel(channel)] if channel else wording.everything
    if topic:
        about += wording.in_brackets.format(wording.topics[Topic(topic)])
    if sender:
        about = wording.from_sender.format(sender=_named(sender, wording, room), what=about)
    return about


def _list(entries: Sequence[object], wording: Wording, room: Room) -> str:
    """Write the questions that wait: the word and code to answer each, and who asks."""
    shown = []
    for entry in entries[: room.questions]:
        if isinstance(entry, dict):
            who, more = _named(str(entry["sender"]), wording, room), entry.get("more", 0)
            who += wording.and_others.format(all=more + 1, rest=more) if more else ""
            shown.append(f"{entry.get('word', 'Y')}{entry['code']} {who}")
    return wording.comma.join(shown)


def _quote(asked: object, wording: Wording, room: Room) -> str:
    text = harmless(asked, room.quote, wording.ellipsis) if isinstance(asked, str) else ""
    if not text.endswith(wording.ellipsis):
        text = text.removesuffix(".").removesuffix("。")  # The sentence around it has its own.
    return wording.quoted.format(text) if text else ""


_LINKS = re.compile(
    r"[a-z][a-z0-9+.-]*://\S*"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:[:/?#]\S*)?"
    r"|(?:[\w-]+\.)+[^\W\d_]{2,}(?:[:/?#]\S*)?",
    re.IGNORECASE,
)
_LONG_DIGITS = re.compile(r"[0-9][0-9 -]{3,}[0-9]")


def harmless(text: str, longest: int, ellipsis: str) -> str:
    """Return what a sender wrote without links, numbers to call, brackets and invisible letters.

    Brackets would let a sender sign as somebody else: an SMS begins with its author in brackets.
    """
    plain = unicodedata.normalize("NFKC", text[:1000])
    plain = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in plain)
    plain = _LONG_DIGITS.sub(" ", _LINKS.sub(" ", plain))
    plain = " ".join(re.sub(r"[\[\]【】〖〗<>{}“”\"]", " ", plain).split())
    if len(plain) <= longest:
        return plain
    return plain[: longest - len(ellipsis)].rstrip() + ellipsis if longest else ""
