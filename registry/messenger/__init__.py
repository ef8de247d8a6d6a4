"""The messenger: SMS to subscribers wait in the outbox and are handed to a gateway, once each.

`outbox` keeps them: queued with the change that they tell of, claimed before they are sent,
recorded after. `digests` makes one of many, `texts` words them, `links` and `replies` give
questions the link, and the number, by which they are answered. `gateway` (HTTP) and `smpp` hand
them over, `delivery` one after the other.
"""

from registry.messenger.outbox import queue
from registry.messenger.replies import draw_reply_code, question
from registry.messenger.texts import House, house

__all__ = ["House", "draw_reply_code", "house", "question", "queue"]
