"""SMS from subscribers: keywords, to a sender's number or to the registry's own.

`keywords` reads the text, `to_sender` and `to_registry` say what a word does where it went,
`questions` finds what it may be an answer to, `answers` carries that out, and `receiving` makes
sure that each message has its effect once.
"""

from registry.inbound.case import Inbound
from registry.inbound.keywords import Keyword, Said, parse_keyword
from registry.inbound.receiving import receive

__all__ = ["Inbound", "Keyword", "Said", "parse_keyword", "receive"]
