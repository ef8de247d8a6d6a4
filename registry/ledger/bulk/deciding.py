"""What becomes of each assertion of a group, by the ledger's rules and in the lines' order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import uuid_utils

from registry.consent import Channel, Topic
from registry.errors import RegistryError
from registry.ledger import assertions, grants
from registry.ledger.bulk.facts import Facts, Held, Sms
from registry.ledger.bulk.lines import LineResult, Outcome
from registry.ledger.bulk.writing import Id
from registry.ledger.grants import Claim, EvidenceClaim
from registry.policy import Policy

NOBODY = uuid_utils.UUID(int=0)


@dataclass(slots=True)
class Applied:
    """A line that leads to a grant."""

    key: bytes
    claim: Claim
    token: bytes
    evidence_id: uuid_utils.UUID
    consents: list[Held]
    superseded: list[Id]
    counts: tuple[bool, ...]
    grant_id: uuid_utils.UUID = field(default_factory=uuid_utils.uuid7)
    tells: bool = True


class Group:
    """Decides line after line, each from what is known and from what the ones before did."""

    def __init__(
        self,
        sender_id: UUID,
        policy: Policy,
        now: datetime,
        known: dict[bytes, UUID],
        facts: dict[bytes, Facts],
    ) -> None:
        self.sender_id = sender_id
        self.policy = policy
        self.now = now
        self.known = known
        self.facts = facts
        self.applied: list[Applied] = []
        self.evidence: dict[EvidenceClaim, uuid_utils.UUID] = {}
        self.last_evidence: tuple[EvidenceClaim | None, uuid_utils.UUID] = (None, NOBODY)
        self.displaced: list[Held] = []
        """What the database holds and something of this group takes the place of."""
        self.retold: list[Sms] = []
        self.counts_from: datetime | None = None

    def apply(self, key: bytes, claim: Claim, token: bytes) -> LineResult:
        """Decide one line."""
        known = self.known.get(key)
        if known is not None:
            return LineResult(Outcome.REPEATED, None, known)
        facts = self.facts[token]
        try:
            assertions.check_recent(facts.recent)
            grants.check_claim(claim, facts.tenure_start, self.now)
        except RegistryError as error:
            return LineResult(Outcome.REJECTED, error.detail, None)
        line = self._make(key, claim, token, facts)
        facts.recent += 1
        self.applied.append(line)
        grant_id = self.known[key] = UUID(int=line.grant_id.int)
        return LineResult(Outcome.APPLIED, None, grant_id)

    def _make(self, key: bytes, claim: Claim, token: bytes, facts: Facts) -> Applied:
        met = facts.met(claim)
        confirmed = [held.topic for held in met if held.confirmed]
        refused = facts.refused_topics(claim.channel)
        effects = grants.assertion_effects(claim, confirmed, refused, self.policy, self.now)
        superseded = [
            held.id for held in met if self._displace(facts, claim.channel, held, effects)
        ]
        consents, counts = [], []
        for topic, effect in effects.items():
            latest = effect is not None
            self.counts_from = effect or self.counts_from
            made = Held(uuid_utils.uuid7(), topic, latest)
            facts.held[claim.channel, topic, latest] = made
            consents.append(made)
            counts.append(latest)
        evidence_id = self._evidence_id(claim.evidence)
        line = Applied(key, claim, token, evidence_id, consents, superseded, tuple(counts))
        if facts.told:
            self._retell(facts, line)
        return line

    def _evidence_id(self, evidence: EvidenceClaim) -> uuid_utils.UUID:
        """Return the id of the group's one row for all that claim this evidence."""
        last, last_id = self.last_evidence
        if evidence is last:  # In most files each line has the one before's.
            return last_id
        found = self.evidence.get(evidence)
        if found is None:
            found = self.evidence[evidence] = uuid_utils.uuid7()
        self.last_evidence = evidence, found
        return found

    def _displace(
        self,
        facts: Facts,
        channel: Channel,
        held: Held,
        effects: Mapping[Topic, datetime | None],
    ) -> bool:
        """Take a consent out of its place if it loses that, and tell whether it ends with it."""
        if grants.keeps_place(held.latest, effects[held.topic]):
            return False
        del facts.held[channel, held.topic, held.latest]
        held.superseded = grants.is_superseded(held.latest, held.stands)
        held.latest = False
        if not held.made:
            self.displaced.append(held)
        return held.superseded

    def _retell(self, facts: Facts, line: Applied) -> None:
        """Leave it at an SMS that has said the same within a day."""
        claim = line.claim
        terms = (claim.channel, claim.valid_until, claim.cap)
        told = [(sms, sms.said) for sms in facts.told if sms.terms == terms]
        counts = dict(zip(claim.topics, line.counts, strict=True))
        sms, said = assertions.saying(told, counts)
        line.tells = sms is None
        if sms is not None and said.keys() == counts.keys():
            sms.subject_id = line.grant_id
            self.retold.append(sms)
