"""SMS from subscribers, delivered by carriers: keywords that refuse, agree, withdraw."""

from flask import Response
from sqlalchemy.orm import Session

from registry import inbound
from registry.access import Scope
from registry.inbound import Inbound
from registry.routes.blueprint import v1
from registry.routes.reading import Body, subscriber
from registry.routes.showing import dump
from registry.schemas.inbound import InboundSchema, ReceivedSchema
from registry.web import caller, commit, idempotent, registry, requires


@v1.post("/inbound-sms")
@requires(Scope.WISHES)
@idempotent
@v1.arguments(InboundSchema)
@v1.response(200, ReceivedSchema)
def post_inbound(data: Body) -> Response:
    """Deliver an SMS from a subscriber; delivered again, it changes nothing.

    The answer to a repetition, which the `message_id` tells, is the first one.
    """
    message = Inbound(**{**data, "number": subscriber(data["number"])})
    opened = registry()

    def receive(session: Session) -> Body:
        row = inbound.receive(
            session,
            message,
            carrier_id=caller().organisation_id,
            policy=opened.policy,
            clock=opened.clock,
            registry_number=opened.settings.sms_number,
        )
        return dump(ReceivedSchema, row)

    return commit(receive)
