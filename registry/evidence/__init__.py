"""Evidence of consents: files that senders keep here, who is shown them, how long they are kept.

Evidence that names a digest is about the file of that digest that its sender uploaded, before or
after (R8). It is kept until so many months after the relationship ended (R7, R11).
"""

from registry.evidence.keeping import PAGE, delete, keep, named, own_file, own_files
from registry.evidence.retention import Removed, due, kept_until, over_at, purge
from registry.evidence.showing import (
    Asked,
    Proof,
    Shown,
    file_of,
    oversee,
    own,
    proof_of,
    show_carrier,
    shown,
)

__all__ = [
    "PAGE",
    "Asked",
    "Proof",
    "Removed",
    "Shown",
    "delete",
    "due",
    "file_of",
    "keep",
    "kept_until",
    "named",
    "over_at",
    "oversee",
    "own",
    "own_file",
    "own_files",
    "proof_of",
    "purge",
    "show_carrier",
    "shown",
]
