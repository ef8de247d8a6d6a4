"""The pages that anybody may see: what this is, who is behind a number, help, the demo's SMS."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    abort,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers.response import Response as AnyResponse

from registry import senders, web
from registry.consent import Channel, MessageClass
from registry.errors import Kind, RegistryError
from registry.messenger import outbox
from registry.models import Organisation, SenderNumber
from registry.numbers import SendingNumber, parse_sending
from registry.portal import cookie, languages
from registry.portal.pages import protect
from registry.runtime import Registry

Page = str | tuple[str, int] | AnyResponse

MESSAGES = 50
"""How many SMS the demo's outbox shows."""


@dataclass(frozen=True)
class Answer:
    """Who holds a sending number; without a holding nobody does.

    One that is an extension of a provider's port does not work while either is suspended.
    """

    number: SendingNumber
    holding: SenderNumber | None = None
    provider: Organisation | None = None
    suspended: bool = False

    @property
    def beneath(self) -> bool:
        """Whether it is part of a shorter number, whose holder it belongs to."""
        return self.holding is not None and self.holding.number != self.number.text

    @property
    def channels(self) -> list[Channel]:
        """What the holder may use it for: SMS, calls."""
        return [channel for channel in Channel if getattr(self.holding, channel)]

    @property
    def usages(self) -> list[MessageClass]:
        """The classes of messages that may come from it."""
        return [usage for usage in MessageClass if getattr(self.holding, usage)]


def pages(registry: Registry) -> Blueprint:
    """Return the blueprint of the public pages."""
    public = Blueprint("public", __name__, template_folder="templates")
    protect(public)

    @public.get("/")
    def home() -> Page:
        """Say what this is; whoever is signed in goes on to the own number."""
        if cookie.signed_in():
            return redirect(url_for("my.overview"))
        return render_template("home.html")

    @public.post("/language")
    def language() -> Page:
        """Remember the language, and go back to the page that it was chosen on."""
        languages.choose(request.form.get("language", ""))
        return redirect(_back())

    @public.get("/who")
    def who() -> Page:
        """Ask for a sending number. It is posted, so that it stands in no address and no log."""
        return render_template("who.html")

    @public.post("/who")
    def answer_who() -> Page:
        """Say who holds a sending number, or that nobody does."""
        web.limit_address()
        written = request.form.get("number", "")
        try:
            number = parse_sending(written, registry.policy.default_region)
        except RegistryError:
            return render_template("who.html", written=written, wrong=True), 422
        response = make_response(
            render_template("who.html", written=written, answer=_find(registry, number))
        )
        # Whoever comes back from a page that it leads to sees it again, not a browser's error.
        response.headers["Cache-Control"] = "private, max-age=60"
        return response

    @public.get("/help")
    def help_() -> Page:
        """Explain how it works, with the policy's times, and what goes without a browser."""
        number = registry.settings.sms_number
        return render_template("help.html", policy=registry.policy, sms_number=number)

    @public.get("/demo/outbox")
    def demo_outbox() -> Page:
        """Show the SMS of a demo, which nobody gets; there is no such page anywhere else."""
        if not registry.demo:
            abort(404)
        with registry.database.snapshot() as session:
            messages = outbox.newest(session, None, MESSAGES)
            follow = "follow" in request.args
            return render_template("outbox.html", messages=messages, follow=follow)

    return public


def _find(registry: Registry, number: SendingNumber) -> Answer:
    with registry.database.snapshot() as session:
        try:
            found = senders.resolve(session, number, registry.clock())
        except RegistryError as error:
            if error.kind is not Kind.NOT_FOUND:
                raise
            return Answer(number)
        companies = filter(None, (found.holding.holder, found.provider))
        suspended = any(senders.suspended(session, it.id, registry.clock()) for it in companies)
        return Answer(number, found.holding, found.provider, suspended)


def _back() -> str:
    """Return the page that the visitor came from, when it is one of ours that can be opened."""
    try:
        came_from = urlsplit(request.referrer or "")
        if came_from.netloc == request.host and not came_from.path.startswith("//"):
            current_app.url_map.bind(request.host).match(came_from.path, "GET")
            return came_from._replace(scheme="", netloc="", fragment="").geturl()
    except (HTTPException, ValueError):
        pass
    return "/"
