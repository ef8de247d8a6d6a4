"""What an event of a number's log means to a person: a title, what else it says, who acted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask_babel import gettext, ngettext

from registry.consent import Basis, Channel, Topic
from registry.ledger import Way
from registry.models import ComplaintOutcome, FamilyEnd, RequestOutcome, Via
from registry.numbers import SubscriberNumber
from registry.policy import Period
from registry.portal import languages
from registry.portal.visitors import Visitor, visitor
from registry.portal.words import about, scope, word
from registry.subscribers import Happened


@dataclass(frozen=True)
class Told:
    """An event as a page shows it: an icon with its colour, a title, and notes."""

    sign: str
    tone: str
    title: str
    notes: list[str] = field(default_factory=list)


def tell(event: Happened) -> Told:
    """Say what happened. What this release has no words for is shown by its name."""
    try:
        return WORDING[event.kind](event)
    except (KeyError, ValueError, TypeError):
        note = gettext("This page has no words for it yet: %(kind)s", kind=event.kind)
        return Told("info", "off", gettext("Something else was recorded"), [note])


def actor(event: Happened, seen_by: Visitor) -> str:
    """Say who acted: the subscriber, who looks after the number, a company or the registry."""
    via = event.data.get("via")
    if event.organisation is not None:
        return _with_way(event.organisation, via if via in _REPORTED else None)
    if via == Via.REGISTRY:
        return str(gettext("The registry, because the time was over"))
    other = _other_person(event)
    if other is None:
        subscriber = gettext("The subscriber") if seen_by.link else gettext("You")
        if event.data.get("way") == Way.LINK:
            return str(gettext("%(who)s, over the link in an SMS", who=subscriber))
        return _with_way(subscriber, via)
    if other == seen_by.own:
        return _with_way(gettext("You"), via)
    return str(gettext("%(number)s, as one of the family", number=_shown(other, event, seen_by)))


def _shown(number: SubscriberNumber, event: Happened, seen_by: Visitor) -> str:
    """Show a number of a family link: whole to both sides of it, masked to anybody else."""
    link = event.family
    if link is not None and seen_by.own in (link.carer, link.member):
        return number.dialled
    return str(number)


_REPORTED = (Via.HOTLINE, Via.SMS, Via.STORE)
"""Ways in which a wish reached the organisation that reports it."""


def _other_person(event: Happened) -> SubscriberNumber | None:
    """Return whose act it was, if it was not the subscriber's."""
    if event.family is None:
        return None
    by_member = event.data.get("by") == FamilyEnd.MEMBER
    person = event.family.member if by_member else event.family.carer
    own = event.family.carer if event.data.get("role") == "carer" else event.family.member
    return None if person == own else person


def _with_way(who: str, via: str | None) -> str:
    if via is None:
        return who
    said: str = gettext("%(who)s, %(way)s", who=who, way=word(Via(via)))
    return said


def _granted(event: Happened) -> Told:
    data = event.data
    topics = [each["topic"] for each in data["consents"]]
    notes = [about(data["channel"], topics), _terms(data)]
    if data["basis"] == Basis.CONFIRMED:
        return Told("agree", "ok", gettext("Agreed to “%(sender)s”", sender=event.sender), notes)
    if all(each["effective_from"] is None for each in data["consents"]):
        notes.append(gettext("It has no effect as long as you do not confirm it."))
    title = gettext("“%(sender)s” claims to have a consent", sender=event.sender)
    return Told("agree", "warn", title, notes)


def _terms(data: Mapping[str, Any]) -> str:
    count = data["cap"]["count"]
    said: str = gettext(
        "%(often)s %(period)s at most, until %(day)s",
        often=ngettext("%(num)d time", "%(num)d times", count),
        period=word(Period(data["cap"]["period"])),
        day=_day(data["valid_until"]),
    )
    return said


def _withdrawn(event: Happened) -> Told:
    notes = [about(event.data["channel"], [event.data["topic"]])]
    if event.data["by_subscriber"]:
        title = gettext("Consent to “%(sender)s” withdrawn", sender=event.sender)
        if event.data["refusal"]:
            notes.append(gettext("Since then this company is refused for it."))
        return Told("cross", "stop", title, notes)
    title = gettext("“%(sender)s” gave up its consent", sender=event.sender)
    return Told("cross", "off", title, notes)


def _refused(event: Happened) -> Told:
    return Told("stop", "stop", gettext("Refused"), [_scope(event)])


def _lifted(event: Happened) -> Told:
    return Told("check", "info", gettext("Refusal lifted"), [_scope(event)])


def _reassigned(event: Happened) -> Told:
    note = gettext(
        "Since %(day)s. What was agreed to and refused before that no longer counts.",
        day=_day(event.data["reassigned_at"]),
    )
    return Told("phone", "info", gettext("The number went to a new subscriber"), [note])


def _reassignment_cancelled(_event: Happened) -> Told:
    note = gettext("It was a mistake: what was agreed to and refused before counts again.")
    title = gettext("The report of a new subscriber was taken back")
    return Told("phone", "info", title, [note])


def _hours_set(event: Happened) -> Told:
    note = gettext(
        "From %(opens)s to %(closes)s", opens=event.data["opens"], closes=event.data["closes"]
    )
    return Told("clock", "info", gettext("Own contact hours set"), [note])


def _hours_lifted(_event: Happened) -> Told:
    return Told("clock", "off", gettext("Own contact hours lifted"))


def _requested(event: Happened) -> Told:
    data = event.data
    notes = [
        about(data["channel"], data["topics"]),
        gettext("To be answered by %(time)s", time=_moment(data["answer_by"])),
    ]
    if data["covered"]:
        notes.append(gettext("You were sent no SMS about it, since a refusal covers it."))
    title = gettext("“%(sender)s” asked for consent", sender=event.sender)
    return Told("message", "info", title, notes)


def _request_answered(outcome: RequestOutcome) -> Callable[[Happened], Told]:
    def told(event: Happened) -> Told:
        notes = [about(event.data["channel"], event.data["topics"])]
        sender = event.sender
        match outcome:
            case RequestOutcome.AGREED:
                title = gettext("Agreed to the request of “%(sender)s”", sender=sender)
                return Told("agree", "ok", title, notes)
            case RequestOutcome.DECLINED:
                title = gettext("Declined the request of “%(sender)s”", sender=sender)
                return Told("stop", "stop", title, notes)
            case RequestOutcome.LAPSED:
                title = gettext("The request of “%(sender)s” went unanswered", sender=sender)
                notes.append(gettext("That is a refusal, and the same may not be asked again."))
                return Told("clock", "stop", title, notes)

    return told


def _challenged(event: Happened) -> Told:
    notes = [
        word(Channel(event.data["channel"])),
        gettext("The company must prove it by %(time)s.", time=_moment(event.data["evidence_by"])),
    ]
    title = gettext("Disputed: “I never agreed to ‘%(sender)s’”", sender=event.sender)
    return Told("warn", "warn", title, notes)


def _challenge_answered(event: Happened) -> Told:
    title = gettext("“%(sender)s” brought evidence of a consent", sender=event.sender)
    return Told("agree", "info", title)


def _voided(event: Happened) -> Told:
    note = gettext("It was not proved in time. This counts as a violation of the company.")
    title = gettext("Consent to “%(sender)s” is void", sender=event.sender)
    return Told("cross", "stop", title, [note])


def _consent_overseen(_event: Happened) -> Told:
    return Told("search", "info", gettext("The authorities looked at a consent"))


def _evidence_shown(event: Happened) -> Told:
    title = gettext("The evidence of a consent to “%(sender)s” was shown", sender=event.sender)
    note = gettext("Carriers may have a consent proved to them before they let a message through.")
    return Told("search", "info", title, [note])


def _complained(event: Happened) -> Told:
    sms = event.data["channel"] == Channel.SMS
    title = gettext("Complaint about an SMS") if sms else gettext("Complaint about a call")
    notes = [word(Topic(event.data["topic"]))]
    if event.sender:
        notes.insert(0, event.sender)
    return Told("flag", "info", title, notes)


def _complaint_overseen(_event: Happened) -> Told:
    return Told("search", "info", gettext("The authorities looked at a complaint"))


def _complaint_forwarded(event: Happened) -> Told:
    title = gettext("A complaint was passed on to “%(sender)s”", sender=event.sender)
    return Told("flag", "info", title)


def _complaint_answered(event: Happened) -> Told:
    title = gettext("“%(sender)s” answered a complaint", sender=event.sender)
    return Told("flag", "info", title)


def _complaint_closed(event: Happened) -> Told:
    outcome = word(ComplaintOutcome(event.data["outcome"]))
    return Told("flag", "ok", gettext("A complaint was decided"), [outcome])


def _family_agreed(event: Happened) -> Told:
    if event.family is None:
        raise ValueError("a family event without its link")
    if event.data["role"] == "carer":
        title = gettext(
            "Looking after %(number)s began", number=_shown(event.family.member, event, visitor())
        )
    else:
        title = gettext(
            "%(number)s looks after this number",
            number=_shown(event.family.carer, event, visitor()),
        )
    return Told("people", "info", title)


def _family_ended(event: Happened) -> Told:
    if event.family is None:
        raise ValueError("a family event without its link")
    if event.data["role"] == "carer":
        title = gettext(
            "Looking after %(number)s ended", number=_shown(event.family.member, event, visitor())
        )
    else:
        title = gettext(
            "%(number)s no longer looks after this number",
            number=_shown(event.family.carer, event, visitor()),
        )
    return Told("people", "off", title)


def _scope(event: Happened) -> str:
    return scope(event.sender, event.data["channel"], event.data["topic"])


def _day(text: str) -> str:
    return languages.written_day(datetime.fromisoformat(text))


def _moment(text: str) -> str:
    return languages.written_moment(datetime.fromisoformat(text))


WORDING: Mapping[str, Callable[[Happened], Told]] = {
    "consent_granted": _granted,
    "consent_withdrawn": _withdrawn,
    "consent_requested": _requested,
    **{f"consent_request_{outcome}": _request_answered(outcome) for outcome in RequestOutcome},
    "consent_challenged": _challenged,
    "challenge_answered": _challenge_answered,
    "consent_voided": _voided,
    "consent_overseen": _consent_overseen,
    "evidence_shown": _evidence_shown,
    "refusal_recorded": _refused,
    "refusal_lifted": _lifted,
    "contact_hours_set": _hours_set,
    "contact_hours_lifted": _hours_lifted,
    "number_reassigned": _reassigned,
    "reassignment_cancelled": _reassignment_cancelled,
    "complaint_filed": _complained,
    "complaint_overseen": _complaint_overseen,
    "complaint_forwarded": _complaint_forwarded,
    "complaint_answered": _complaint_answered,
    "complaint_closed": _complaint_closed,
    "family_agreed": _family_agreed,
    "family_ended": _family_ended,
}
"""What is said of every kind of event that names a number."""
