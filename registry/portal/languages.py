"""The languages of the pages, and times as a person reads them there."""

from datetime import date, datetime
from pathlib import Path

from babel import Locale
from babel.support import Translations
from flask import Flask, g, session
from flask_babel import (
    Babel,
    format_date,
    format_datetime,
    format_decimal,
    get_translations,
)
from markupsafe import Markup

FOLDER = Path(__file__).parent / "translations"
LOCALES = {"zh": Locale("zh", "CN", "Hans"), "en": Locale("en", "GB")}
TAGS = {"zh": "zh-CN", "en": "en"}
DEFAULT = "zh"
ZONE = "Asia/Shanghai"

_DAYS = {"zh": "y年M月d日", "en": "d MMMM y"}
_DAYS_OF_WEEK = {"zh": "y年M月d日（EEE）", "en": "EEEE d MMMM y"}
_MOMENTS = {"zh": "y年M月d日 HH:mm", "en": "d MMMM y, HH:mm"}


def speak(app: Flask) -> None:
    """Translate the pages of an app, by default into Chinese."""
    app.config.update(
        BABEL_TRANSLATION_DIRECTORIES=str(FOLDER),
        BABEL_DEFAULT_LOCALE=str(LOCALES[DEFAULT]),
        BABEL_DEFAULT_TIMEZONE=ZONE,
    )
    Babel(app, locale_selector=lambda: LOCALES[language()], timezone_selector=zone)
    # Flask-Babel looks for the catalogue anew at every message, which is most of a page's time.
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]
        gettext=lambda message: _catalogue().ugettext(message),
        ngettext=lambda one, many, count: _catalogue().ungettext(one, many, count),
        newstyle=True,
    )
    app.jinja_env.globals.update(language=language, language_tag=lambda: TAGS[language()])
    app.jinja_env.filters.update(day=day, weekday=weekday, moment=moment, amount=amount)


def _catalogue() -> Translations:
    """Return the messages in the visitor's language, looked up once a request."""
    found: Translations | None = g.get("catalogue")
    if found is None:
        found = g.catalogue = get_translations()
    return found


def language() -> str:
    """Return the language of the visitor: "zh" or "en"."""
    chosen = session.get("language")
    return chosen if chosen in LOCALES else DEFAULT


def choose(wanted: str) -> None:
    """Remember the visitor's language; one that the pages do not speak changes nothing."""
    if wanted in LOCALES:
        session["language"] = wanted


def zone() -> str:
    """Return the time zone of the page's reader: that of the number, where one is signed in."""
    found: str = g.get("zone", ZONE)
    return found


def day(value: date) -> Markup:
    """Show a date; of a point in time the date in the reader's zone."""
    return _time(value, written_day(value))


def written_day(value: date) -> str:
    """Return a date as `day` shows it, to be put into a sentence."""
    written: str = format_date(value, _DAYS[language()])
    return written


def weekday(value: date) -> Markup:
    """Show a date with its day of the week, as deadlines are."""
    return _time(value, format_date(value, _DAYS_OF_WEEK[language()]))


def moment(value: datetime) -> Markup:
    """Show a point in time in the reader's zone."""
    return _time(value, written_moment(value))


def written_moment(value: datetime) -> str:
    """Return a point in time as `moment` shows it, to be put into a sentence."""
    written: str = format_datetime(value, _MOMENTS[language()])
    return written


def amount(value: int) -> str:
    """Return a number with its thousands apart."""
    written: str = format_decimal(value)
    return written


def _time(value: date, shown: str) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), shown)
