"""How each kind of data that the registry holds on a number reads to its subscriber.

Rows are those of `subscribers.everything`, so the page can show nothing that the download lacks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask_babel import LazyString, gettext, lazy_gettext, ngettext

from registry.consent import Basis, Channel, End, MessageClass, Reason, Topic
from registry.models import (
    ChallengeOutcome,
    CodePurpose,
    ComplaintOutcome,
    Method,
    Notice,
    OutboxState,
    RequestOutcome,
    Via,
    ViolationKind,
)
from registry.policy import Period
from registry.portal import languages
from registry.portal.words import about, matter, national, scope, word
from registry.subscribers import Standing

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """What a row says: a title and notes, of which empty ones are left out."""

    title: str
    notes: list[str] = field(default_factory=list)


class Holdings:
    """All that is held on a number, with what its rows refer to at hand."""

    def __init__(self, everything: Row) -> None:
        self.everything = everything
        self._grants = {grant["id"]: grant for grant in everything["grants"]}

    def rows(self, name: str) -> list[Row]:
        """Return the rows of one kind."""
        found: list[Row] = self.everything[name]
        return found

    def grant(self, row: Row) -> Row:
        """Return the terms and the evidence of a consent."""
        found: Row = self._grants[row["grant_id"]]
        return found

    def name(self, organisation_id: str | None) -> str:
        """Return an organisation's name; nothing where there is none."""
        names: Mapping[str, str] = self.everything["organisations"]
        return names.get(organisation_id or "", "")


@dataclass(frozen=True)
class Section:
    """One kind of data: its place in the download, its title, how its rows read, their time."""

    name: str
    title: LazyString
    say: Callable[[Row, Holdings], Entry]
    at: str = "recorded_at"


def _refusal(row: Row, held: Holdings) -> Entry:
    title = scope(held.name(row["sender_id"]), row["channel"], row["topic"])
    return Entry(title, [gettext("Recorded %(way)s", way=word(Via(row["via"]))), _standing(row)])


def _hours(row: Row, _held: Holdings) -> Entry:
    title = gettext(
        "From %(opens)s to %(closes)s", opens=row["opens"][:5], closes=row["closes"][:5]
    )
    return Entry(title, [_standing(row)])


def _consent(row: Row, held: Holdings) -> Entry:
    grant = held.grant(row)
    evidence = grant["evidence"]
    notes = [
        about(row["channel"], [row["topic"]]),
        gettext(
            "%(often)s, until %(day)s", often=_often(grant), day=languages.written_day(_end(row))
        ),
        gettext(
            "%(basis)s: %(method)s",
            basis=word(Basis(grant["basis"])),
            method=word(Method(evidence["method"])),
        ),
        _kept(evidence),
        _standing(row) if row["end_reason"] else _reach(row, held),
    ]
    return Entry(held.name(row["sender_id"]), notes)


def _kept(evidence: Row) -> str:
    """Quote a text that is kept, or say since when it is not."""
    if evidence["purged_at"] is None:
        return _quoted(evidence["notice_text"])
    day = languages.written_day(datetime.fromisoformat(evidence["purged_at"]))
    return str(
        gettext("The text was kept as long as the rules ask, and removed on %(day)s.", day=day)
    )


def _reach(row: Row, held: Holdings) -> str:
    """Say what a consent that nobody ended is worth by its own terms; refusals stand apart."""
    if row["effective_from"] is None:
        return word(Standing.WITHOUT_EFFECT)
    now = datetime.fromisoformat(held.everything["made_at"])
    return word(Standing.EXPIRED) if now >= _end(row) else str(gettext("Not ended"))


def _end(row: Row) -> datetime:
    return datetime.fromisoformat(row["valid_until"])


def _request(row: Row, held: Holdings) -> Entry:
    outcome = row["outcome"]
    notes = [
        about(row["channel"], row["topics"].split()),
        _often(row),
        ngettext("For %(num)d day", "For %(num)d days", row["valid_for_days"]),
        _quoted(row["notice_text"]),
        word(RequestOutcome(outcome)) if outcome else gettext("Not answered yet"),
    ]
    return Entry(held.name(row["sender_id"]), notes)


def _challenge(row: Row, held: Holdings) -> Entry:
    outcome = row["outcome"]
    notes = [
        word(ChallengeOutcome(outcome)) if outcome else gettext("Not decided yet"),
        _quoted(row["evidence_text"]),
    ]
    return Entry(held.name(row["sender_id"]), notes)


def _violation(row: Row, held: Holdings) -> Entry:
    note = gettext("It claimed a consent that it could not prove.")
    if row["kind"] == ViolationKind.UPHELD_COMPLAINT:
        note = gettext("Your complaint about it was upheld.")
    notes = [note]
    if row["provider_id"] not in (None, row["organisation_id"]):
        provider = held.name(row["provider_id"])
        notes.append(gettext("Sent through “%(company)s”", company=provider))
    return Entry(held.name(row["organisation_id"]), notes)


def _complaint(row: Row, held: Holdings) -> Entry:
    outcome = row["outcome"]
    notes = [
        held.name(row["sender_id"] or row["provider_id"]),
        about(row["channel"], [row["topic"]]),
        _quoted(row["text"]),
        gettext("Answer: %(text)s", text=row["answer"]) if row["answer"] else "",
        word(ComplaintOutcome(outcome)) if outcome else gettext("Not decided yet"),
    ]
    return Entry(national(row["sending_number"]) or gettext("Hidden number"), notes)


def _lookup(row: Row, held: Holdings) -> Entry:
    topic, kind = row["topic"], row["message_class"]
    what = word(Topic(topic)) if topic else word(MessageClass(kind))
    notes = [
        matter(word(Channel(row["channel"])), what),
        gettext("From %(number)s", number=national(row["sending_number"])),
        word(Reason(row["reason"])),
    ]
    return Entry(held.name(row["asker_id"]), notes)


def _sent(row: Row, _held: Holdings) -> Entry:
    state = word(OutboxState(row["state"]))
    return Entry(str(_NOTICES[Notice(row["notice"])]), [_quoted(row["text"]), state])


_NOTICES = {
    Notice.CODE: lazy_gettext("A code; what it was is kept nowhere"),
    Notice.CONSENT_ASSERTED: lazy_gettext("That a company recorded a consent"),
    Notice.CONSENTS_ASSERTED: lazy_gettext("That companies recorded consents"),
    Notice.REFUSAL_LIFTED: lazy_gettext("That a refusal was lifted"),
    Notice.CONSENT_REQUESTED: lazy_gettext("That a company asks for consent"),
    Notice.CHALLENGE_ANSWERED: lazy_gettext("That a company brought evidence"),
    Notice.CONSENT_VOIDED: lazy_gettext("That a consent is void"),
    Notice.FAMILY_AGREED: lazy_gettext("That somebody looks after somebody now"),
    Notice.FAMILY_ENDED: lazy_gettext("That somebody looks after somebody no longer"),
    Notice.COMPLAINT_MOVED: lazy_gettext("What became of a complaint"),
    Notice.REPLY: lazy_gettext("An answer to an SMS"),
}


def _received(row: Row, _held: Holdings) -> Entry:
    note = gettext("To %(number)s", number=national(row["to_number"]))
    return Entry(_quoted(row["text"]) or gettext("Its text is kept no longer"), [note])


_PURPOSES = {
    CodePurpose.SIGN_IN: lazy_gettext("To sign in"),
    CodePurpose.FAMILY: lazy_gettext("To be looked after by somebody"),
}


def _code(row: Row, _held: Holdings) -> Entry:
    used = gettext("Used") if row["used_at"] else gettext("Not used")
    return Entry(str(_PURPOSES[CodePurpose(row["purpose"])]), [used])


def _session(row: Row, _held: Holdings) -> Entry:
    last = languages.written_moment(datetime.fromisoformat(row["seen_at"]))
    return Entry(gettext("Signed in on these pages"), [gettext("Last used %(time)s", time=last)])


def _family(row: Row, _held: Holdings) -> Entry:
    title = gettext("%(carer)s looks after %(member)s", carer=row["carer"], member=row["member"])
    if row["ended_at"]:
        state = gettext("Ended")
    else:
        state = gettext("In force") if row["agreed_at"] else gettext("Not agreed to")
    return Entry(title, [row["label"] or "", state])


def _asked(row: Row, held: Holdings) -> Entry:
    note = gettext("Counted once a day, so that nobody asks about too many numbers.")
    return Entry(held.name(row["organisation_id"]), [note])


def _reassignment(row: Row, held: Holdings) -> Entry:
    day = languages.written_day(datetime.fromisoformat(row["reassigned_at"]))
    notes = [
        gettext("Since %(day)s", day=day),
        held.name(row["recorded_by"]),
        gettext("Taken back") if row["cancelled_at"] else "",
    ]
    return Entry(gettext("The number went to a new subscriber"), notes)


def _often(terms: Row) -> str:
    times = ngettext("%(num)d time", "%(num)d times", terms["cap_count"])
    period = word(Period(terms["cap_period"]))
    return str(gettext("%(often)s %(period)s at most", often=times, period=period))


def _quoted(text: str | None) -> str:
    return str(gettext("“%(text)s”", text=text)) if text else ""


def _standing(row: Row) -> str:
    """Say whether what was said stands, or why it does not."""
    if row["end_reason"] is None:
        return str(gettext("In force"))
    if row["end_reason"] == End.LIFTED:
        return str(gettext("Lifted"))
    return word(Standing(row["end_reason"]))


SECTIONS = (
    Section("refusals", lazy_gettext("What is refused"), _refusal),
    Section("contact_hours", lazy_gettext("Own contact hours"), _hours),
    Section("consents", lazy_gettext("Consents"), _consent),
    Section("requests", lazy_gettext("Requests for consent"), _request),
    Section("challenges", lazy_gettext("Disputed consents"), _challenge),
    Section("violations", lazy_gettext("Violations that were found"), _violation),
    Section("complaints", lazy_gettext("Complaints"), _complaint),
    Section("lookups", lazy_gettext("Who asked about the number"), _lookup, at="decided_at"),
    Section("asked_numbers", lazy_gettext("Companies that named the number"), _asked, at="day"),
    Section("messages_sent", lazy_gettext("SMS to the number"), _sent),
    Section("messages_received", lazy_gettext("SMS from the number"), _received),
    Section("codes", lazy_gettext("Codes that were asked for"), _code),
    Section("sessions", lazy_gettext("Sign-ins"), _session),
    Section("family", lazy_gettext("Family"), _family),
    Section("reassignments", lazy_gettext("New subscribers of the number"), _reassignment),
)
"""In the order of the page. Events of the log are not among them: the history shows those."""
