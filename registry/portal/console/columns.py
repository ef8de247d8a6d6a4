"""What the columns of an imported file are: suggestions by their names, and reading the form."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import request
from flask_babel import LazyString, lazy_gettext

from registry.consent import Channel, MessageClass, Topic
from registry.errors import RegistryError
from registry.models import Method, Via
from registry.policy import Period
from registry.portal.console import reading
from registry.portal.words import options as worded

NAMES: Mapping[str, LazyString] = {
    "number": lazy_gettext("Number"),
    "key": lazy_gettext("Your own key of the line"),
    "channel": lazy_gettext("Way of contact"),
    "channels": lazy_gettext("What goes out"),
    "usages": lazy_gettext("Messages"),
    "topic": lazy_gettext("Topic"),
    "topics": lazy_gettext("Topics"),
    "granted_at": lazy_gettext("When the subscriber agreed"),
    "valid_until": lazy_gettext("Until when it is good"),
    "valid_for_days": lazy_gettext("For how many days"),
    "cap.count": lazy_gettext("How many times"),
    "cap.period": lazy_gettext("In what time"),
    "evidence.method": lazy_gettext("How the subscriber agreed"),
    "evidence.notice_text": lazy_gettext("The text that was agreed to"),
    "evidence.notice_version": lazy_gettext("Version of the text"),
    "evidence.language": lazy_gettext("Language of the text"),
    "evidence.sha256": lazy_gettext("Fingerprint of the proof (SHA-256)"),
    "evidence.uri": lazy_gettext("Where you keep the proof"),
    "notice_text": lazy_gettext("The text"),
    "sender": lazy_gettext("Which sender is refused"),
    "via": lazy_gettext("How the wish came"),
    "reassigned_at": lazy_gettext("When it went to somebody else"),
    "held_from": lazy_gettext("First day"),
    "held_until": lazy_gettext("Last day"),
    "note": lazy_gettext("Note for the operator"),
}
"""How the fields of a line read to people."""
_ONE: Mapping[str, Sequence[Any]] = {
    "channel": list(Channel),
    "topic": list(Topic),
    "cap.period": list(Period),
    "evidence.method": [one for one in Method if one is not Method.REGISTRY],
    "via": [Via.HOTLINE, Via.SMS, Via.STORE],
}
_SOME: Mapping[str, Sequence[Any]] = {
    "topics": list(Topic),
    "channels": list(Channel),
    "usages": list(MessageClass),
}
_WHOLE = {"valid_for_days", "cap.count"}
_FIRST, _LAST = {"granted_at", "held_from", "reassigned_at"}, {"valid_until", "held_until"}
_LONG = {"evidence.notice_text", "notice_text"}
_NO_DEFAULT = {"number", "key", "evidence.sha256", "evidence.uri"}
"""Of these each line has its own."""
_CALLED: Mapping[str, str] = {
    "number": r"(手机|电话|用户)?(号码?|手机|电话)|(phone|mobile|msisdn|tel).*",
    "key": r"id|编号|序号|流水号?|line.?key",
    "channel": r"渠道|方式|联系方式",
    "topics": r"主题|内容|类别|topics?",
    "topic": r"主题|内容|类别|topics?",
    "granted_at": r"同意(时间|日期)|(consent|agreed|granted|opt.?in).*(at|date|time)?",
    "valid_until": r"(有效期?至|到期|截止).*|(valid|expires?).*(until|at|date)?",
    "valid_for_days": r"(有效)?(天数|期限)|days",
    "cap.count": r"次数|频次|count|times",
    "cap.period": r"周期|频率|period",
    "evidence.notice_text": r"(告知|同意)?(文本|内容|正文)|(notice|text).*",
    "reassigned_at": r"(换号|更换|变更)?(时间|日期)|reassigned.*|date|at",
    "sender": r"发送方|企业|单位|sender.*|uscc|统一社会信用代码",
    "held_from": r"(起始|开始).*|from|since",
    "held_until": r"(截止|结束|到期).*|until",
    "note": r"备注|说明|notes?",
}


@dataclass(frozen=True)
class Choice:
    """One field of a line, as the form asks for it. `column` is the place of the chosen one."""

    name: str
    label: LazyString
    needed: bool
    column: int | None
    kind: str
    options: Sequence[tuple[str, str]]
    written: Any
    problem: LazyString | None

    @property
    def id(self) -> str:
        """What the field is called in the form."""
        return self.name.replace(".", "-")


NEEDED = lazy_gettext("Please choose a column, or write what holds for all lines.")
NO_COLUMN = lazy_gettext("Please choose a column.")
NOT_RIGHT = lazy_gettext("Please check this.")


def kind_of(name: str) -> str:
    """Return how a form asks for a value of a field that holds for all lines."""
    for kind, names in (
        ("none", _NO_DEFAULT), ("one", _ONE), ("some", _SOME), ("whole", _WHOLE),
        ("day", _FIRST | _LAST), ("long", _LONG),
    ):  # fmt: skip
        if name in names:
            return kind
    return "line"


def choices(
    fields: Mapping[str, bool],
    columns: Sequence[str],
    problems: Mapping[str, LazyString],
    *,
    mapped: bool,
) -> list[Choice]:
    """Return what the form asks of each field: what was chosen, or else what its name suggests."""
    sent = request.method == "POST"
    taken: set[int] = set()
    found = []
    for name, needed in fields.items():
        place = _chosen(name, columns) if sent else _suggested(name, columns, taken)
        if place is not None:
            taken.add(place)
        kind = kind_of(name)
        words = _ONE.get(name) or _SOME.get(name) or ()
        written = request.form.getlist(name) if kind == "some" else request.form.get(name, "")
        found.append(
            Choice(
                name=name,
                label=NAMES[name],
                needed=needed and mapped,
                column=place,
                kind=kind,
                options=worded(words),
                written=written,
                problem=problems.get(name),
            )
        )
    return found


def _suggested(name: str, columns: Sequence[str], taken: set[int]) -> int | None:
    """Return the column that is called like a field."""
    for pattern in (re.escape(name), re.escape(name.partition(".")[2] or name), _CALLED.get(name)):
        for place, column in enumerate(columns):
            alike = pattern and re.fullmatch(pattern, column.strip(), re.IGNORECASE)
            if alike and place not in taken and columns.count(column) == 1:
                return place
    return None


def _chosen(name: str, columns: Sequence[str]) -> int | None:
    place = request.form.get(f"column {name}", type=int)
    return place if place is not None and 0 <= place < len(columns) else None


def mapping(fields: Mapping[str, bool], columns: Sequence[str]) -> dict[str, str]:
    """Return which column of the file each field is, as the form says it."""
    places = {name: _chosen(name, columns) for name in fields}
    return {name: columns[place] for name, place in places.items() if place is not None}


def defaults(fields: Mapping[str, bool]) -> tuple[dict[str, Any], dict[str, LazyString]]:
    """Return what holds for all lines by dotted names, and what is wrong with it."""
    said: dict[str, Any] = {}
    problems: dict[str, LazyString] = {}
    for name in fields:
        kind = kind_of(name)
        if kind == "some":
            said[name] = request.form.getlist(name)
        elif kind == "whole":
            written = reading.text(name)
            said[name] = int(written) if re.fullmatch(r"[0-9]{1,9}", written) else written
        elif kind == "day":
            try:
                said[name] = _moment(name)
            except RegistryError:
                problems[name] = NOT_RIGHT
        elif kind != "none":
            said[name] = reading.text(name)
    return {name: value for name, value in said.items() if value not in ("", [], None)}, problems


def _moment(name: str) -> str | None:
    found: datetime | None = (reading.first_day if name in _FIRST else reading.last_day)(name)
    return None if found is None else found.isoformat()


def missing(
    fields: Mapping[str, bool], mapped: Mapping[str, str], said: Mapping[str, Any]
) -> dict[str, LazyString]:
    """Return what is needed and has neither a column nor a value for all lines."""
    found = {
        name: NO_COLUMN if name in _NO_DEFAULT else NEEDED
        for name, needed in fields.items()
        if needed and name not in mapped and name not in said
    }
    ends = {"valid_until", "valid_for_days"}
    if ends <= fields.keys() and not ends & {*mapped, *said}:
        found["valid_until"] = NEEDED
    return found


def wrong(error_fields: Mapping[str, Any]) -> dict[str, LazyString]:
    """Return what is wrong with the values for all lines, by the fields' dotted names."""
    found = error_fields.get("defaults", {})
    return dict.fromkeys(_names(found), NOT_RIGHT) if isinstance(found, dict) else {}


def _names(messages: Mapping[Any, Any], before: str = "") -> list[str]:
    names: list[str] = []
    for name, below in messages.items():
        if isinstance(below, dict) and not all(isinstance(key, int) for key in below):
            names += _names(below, f"{before}{name}.")
        else:
            names.append(f"{before}{name}")
    return names
