"""What an SMS says, in words, in at most three of its parts.

What a sender supplied, its name and the text that it asks with, is cut, and nothing in it can
be taken for a link or for the registry's own words.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from registry.consent import Channel, Topic
from registry.messenger import sms
from registry.messenger.subjects import Facts, facts
from registry.messenger.wording import CHINESE, LANGUAGES, Wording
from registry.models import OutboxItem

MOST_PARTS = 3
LONGEST_NAME = 20
QUOTES = (60, 40, 20, 0)
"""Characters of a sender's text: as many of them as leave the message short enough."""
MOST_TOPICS = MOST_LISTED = 4


@dataclass(frozen=True)
class House:
    """What the registry says of itself: where its pages are, and the number its SMS come from.

    Without a number nobody can answer them, and no text asks for it.
    """

    portal: str
    number: str | None = None


def word(session: Session, item: OutboxItem, house: House, now: datetime) -> str | None:
    """Return the text of a message; None when its subject does not call for it any more."""
    found = facts(session, item, now)
    if found is None:
        return None
    wording = LANGUAGES.get(item.language, CHINESE)
    for longest in QUOTES:
        text = _write(item, found, wording, house, longest)
        if len(sms.encode(text).parts) <= MOST_PARTS:
            break
    return text


def _write(item: OutboxItem, found: Facts, wording: Wording, house: House, longest: int) -> str:
    name = f"{item.notice}.{found['kind']}" if "kind" in found else item.notice.value
    templates = wording.texts
    fields = {
        **_plain(found, wording, ZoneInfo(item.number.zones[0])),
        "reply_code": "" if item.reply_code is None else item.reply_code,
        "portal": house.portal,
        "quote": _quote(found.get("asked"), wording, longest),
        "effect": "" if found.get("effective", True) else templates[f"{name}.no_effect"],
    }
    how = templates.get(f"{name}.{'portal' if item.reply_code is None else 'answer'}", "")
    return wording.signature + templates[name].format(**fields, how=how.format(**fields))


def _plain(found: Facts, wording: Wording, zone: ZoneInfo) -> dict[str, object]:
    """Return what a message says in the words of its language."""
    written: dict[str, object] = {name: value for name, value in found.items() if value is not None}
    for name, value in found.items():
        if isinstance(value, datetime):
            written[name] = wording.write_day(value.astimezone(zone).date())
    sender = found.get("sender")
    written["sender"] = _named(sender, wording) if sender else wording.nobody
    written["scope"] = _scope(found, wording)
    if found.get("channel"):
        written["channel"] = wording.channels[found["channel"]]
    if "cap" in found:
        count, period = found["cap"]
        written["cap"] = wording.cap[period].format(count)
    if "topics" in found:
        written["topics"] = _topics(found["topics"], wording)
    if "list" in found:
        written["list"] = _list(found["list"], wording)
    return written


def _named(sender: str, wording: Wording) -> str:
    return harmless(sender, LONGEST_NAME, wording.ellipsis)


def _topics(topics: Sequence[Topic], wording: Wording) -> str:
    names = [wording.topics[topic] for topic in topics]
    if len(names) <= MOST_TOPICS:
        return wording.comma.join(names)
    shown = names[: MOST_TOPICS - 1]
    more = wording.and_more.format(all=len(names), rest=len(names) - len(shown))
    return wording.comma.join(shown) + more


def _scope(found: Facts, wording: Wording) -> str:
    """Say what a refusal covers."""
    channel, topic, sender = found.get("channel"), found.get("topic"), found.get("sender")
    about = wording.channels[Channel(channel)] if channel else wording.everything
    if topic:
        about += wording.in_brackets.format(wording.topics[Topic(topic)])
    if sender:
        about = wording.from_sender.format(sender=_named(sender, wording), what=about)
    return about


def _list(entries: Sequence[object], wording: Wording) -> str:
    """Write the questions that wait: the word and code to answer each, and who asks."""
    shown = [
        f"{entry.get('word', 'Y')}{entry['code']} {_named(str(entry['sender']), wording)}"
        for entry in entries[:MOST_LISTED]
        if isinstance(entry, dict)
    ]
    return wording.comma.join(shown)


def _quote(asked: object, wording: Wording, longest: int) -> str:
    text = harmless(asked, longest, wording.ellipsis) if isinstance(asked, str) else ""
    return wording.quoted.format(text) if text else ""


_LINKS = re.compile(
    r"[a-z][a-z0-9+.-]*://\S*|(?:[\w-]+\.)+[^\W\d_]{2,}(?:[:/?#]\S*)?", re.IGNORECASE
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
