"""Reports by e-mail every week: who gets which and when, how they are sent, and who wants them no more."""

from __future__ import annotations

import logging
import secrets
import ssl
import threading
from datetime import UTC, datetime, time, timedelta
from email.utils import parseaddr
from smtplib import SMTP
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Engine, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tracker import days, letters, smtp
from tracker.campaigning import WHO_MAX, ReportMail
from tracker.config import Settings
from tracker.errors import Invalid, NotFound, Taken
from tracker.models import ID_MAX, Campaign, Workspace
from tracker.stores import open_store

TOKEN_BYTES = 24
TOKEN_MAX = 64
MAILS_MAX = 100  # of a workspace
MAILS_AT_ONCE = 20
FAILURE_MAX = 300
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# How long after each failure it is tried again; after the last it waits for its regular time.
RETRIES = (timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=3))


log = logging.getLogger(__name__)


def subscribe(
    session: Session,
    workspace: Workspace,
    campaign: Campaign | None,
    recipient: str,
    weekday: int,
    hour: int,
    *,
    by: str,
    now: datetime,
) -> ReportMail:
    """Stores that somebody gets the report of a campaign, or of all, every week; commits. Raises Invalid or Taken."""
    recipient = recipient.strip()
    errors = {}
    if not smtp.is_address(recipient):
        errors["recipient"] = "Give one e-mail address, like ada@example.org."
    if not 0 <= weekday <= 6:
        errors["weekday"] = "Choose a day of the week."
    if not 0 <= hour <= 23:
        errors["hour"] = "Choose an hour from 0 to 23."
    own = ReportMail.workspace_id == workspace.id
    if session.scalars(select(func.count(ReportMail.id)).where(own)).one() >= MAILS_MAX:
        errors["recipient"] = f"{MAILS_MAX} reports are sent already; take one off the list first."
    if errors:
        raise Invalid(errors)
    of = ReportMail.campaign_id.is_(None) if campaign is None else ReportMail.campaign_id == campaign.id
    # Of no campaign the constraint does not tell: NULLs differ from each other.
    known = session.scalar(select(ReportMail.id).where(own, of, ReportMail.recipient == recipient))
    if known is not None:
        raise Taken({"recipient": f"{recipient} gets this report already."})
    made = ReportMail(
        workspace_id=workspace.id,
        campaign_id=campaign.id if campaign else None,
        recipient=recipient,
        weekday=weekday,
        hour=hour,
        token=secrets.token_urlsafe(TOKEN_BYTES),
        created_by=by[:WHO_MAX],
        next_at=next_at(weekday, hour, ZoneInfo(workspace.timezone), now),
    )
    session.add(made)
    try:
        session.commit()
    except IntegrityError:
        session.rollback()
        raise Taken({"recipient": f"{recipient} gets this report already."}) from None
    return made


def next_at(weekday: int, hour: int, zone: ZoneInfo, after: datetime) -> datetime:
    """The first such weekday and hour of the zone's clocks later than `after`, in UTC.

    An hour that a clock put forward leaves out is the one after it; of one that comes twice it is the first.
    """
    day = days.today(zone, after)
    day += timedelta(days=(weekday - day.weekday()) % 7)
    while True:
        found = datetime.combine(day, time(hour), zone).astimezone(UTC)
        if found > after:
            return found
        day += timedelta(days=7)


def listed(session: Session, workspace: Workspace, campaign: Campaign | None = None) -> list[ReportMail]:
    """Who gets the reports of a campaign, or every report of a workspace; in the order they were written down."""
    query = select(ReportMail).where(ReportMail.workspace_id == workspace.id)
    if campaign is not None:
        query = query.where(ReportMail.campaign_id == campaign.id)
    return list(session.scalars(query.order_by(ReportMail.id).limit(MAILS_MAX)))


def get(session: Session, workspace: Workspace, mail_id: int) -> ReportMail:
    """One by its id. Raises NotFound."""
    found = session.get(ReportMail, mail_id) if 0 < mail_id <= ID_MAX else None
    if found is None or found.workspace_id != workspace.id:
        raise NotFound("There is no such mail.")
    return found


def remove(session: Session, workspace: Workspace, mail_id: int) -> ReportMail:
    """Takes one off the list and commits. Raises NotFound."""
    found = get(session, workspace, mail_id)
    session.delete(found)
    session.commit()
    return found


def is_known(session: Session, token: str) -> bool:
    return _is_token(token) and session.scalar(select(ReportMail.id).where(ReportMail.token == token)) is not None


def unsubscribe(session: Session, token: str) -> None:
    """Takes whoever holds the token off the list and commits; nothing happens where nobody does."""
    if _is_token(token):
        session.execute(delete(ReportMail).where(ReportMail.token == token))
        session.commit()


def _is_token(token: str) -> bool:
    return token.isascii() and len(token) <= TOKEN_MAX


def due(session: Session, now: datetime, limit: int) -> list[int]:
    """The ids of those whose time has come, the longest waiting first."""
    query = select(ReportMail.id).where(ReportMail.next_at <= now).order_by(ReportMail.next_at).limit(limit)
    return list(session.scalars(query))


def take(session: Session, mail_id: int, now: datetime) -> ReportMail | None:
    """Takes one up to be sent, by moving it on to its next regular time; commits. None where another machine has.

    Of two machines that read the same row, one finds `next_at` as it was. Taken before it is sent: a crash in between
    leaves one mail out and sends none twice.
    """
    mail = session.get(ReportMail, mail_id, populate_existing=True)
    if mail is None or mail.next_at > now:
        return None
    workspace = session.get_one(Workspace, mail.workspace_id)
    later = next_at(mail.weekday, mail.hour, ZoneInfo(workspace.timezone), now)
    if not _move(session, mail, later):
        return None
    return session.get(ReportMail, mail_id, populate_existing=True)


def note_sent(session: Session, mail: ReportMail, now: datetime) -> None:
    """Writes down that it went out, and commits."""
    _set(session, mail.id, sent_at=now, failed_at=None, failure=None, attempts=0)


def note_failure(session: Session, mail: ReportMail, reason: str, now: datetime, *, may_retry: bool) -> None:
    """Writes down why it did not go out, moves it to the next try where there is one left, and commits."""
    mail_id, attempts = mail.id, mail.attempts
    again = may_retry and attempts < len(RETRIES)
    if again:
        _move(session, mail, min(now + RETRIES[attempts], mail.next_at))
    _set(session, mail_id, failed_at=now, failure=reason[:FAILURE_MAX], attempts=attempts + 1 if again else 0)


def _move(session: Session, mail: ReportMail, to: datetime) -> bool:
    moved = session.execute(
        update(ReportMail).where(ReportMail.id == mail.id, ReportMail.next_at == mail.next_at).values(next_at=to)
    )
    session.commit()
    return bool(getattr(moved, "rowcount", 0))


def _set(session: Session, mail_id: int, **values: Any) -> None:
    """By statement: a row that was taken off the list meanwhile stays off."""
    session.execute(update(ReportMail).where(ReportMail.id == mail_id).values(**values))
    session.commit()


def send_due(settings: Settings, engine: Engine, now: datetime, context: ssl.SSLContext | None = None) -> int:
    """Sends what is due, at most MAILS_AT_ONCE, over one connection; answers how many went out.

    Each step of talking to the server has its limit of time. What fails is written down and tried again later.
    """
    if settings.smtp is None:
        return 0
    with Session(engine) as session:
        ids = due(session, now, MAILS_AT_ONCE)
    if not ids:
        return 0
    sent = 0
    try:
        with smtp.connected(settings.smtp, context) as connection:
            for mail_id in ids:
                with Session(engine) as session:
                    mail = take(session, mail_id, now)
                    if mail is None:
                        continue
                    try:
                        send(session, engine, settings, connection, mail, now)
                    except smtp.NotSent as error:
                        if connection.sock is None:
                            return sent  # the others wait for the next connection
                        log.warning("mail %d was not sent: %s", mail_id, error)
                    else:
                        sent += 1
    except smtp.NotSent as error:
        log.warning("no mail was sent: %s", error)
        with Session(engine) as session:
            for mail_id in ids:
                if mail := take(session, mail_id, now):
                    note_failure(session, mail, str(error), now, may_retry=True)
    return sent


def send(
    session: Session,
    engine: Engine,
    settings: Settings,
    connection: SMTP,
    mail: ReportMail,
    now: datetime,
    public_url: str = "",
    *,
    may_retry: bool = True,
) -> None:
    """Makes one report and hands it over; either way it is written down, and committed. Raises NotSent."""
    recipient, sender = mail.recipient, settings.mail_from or ""
    try:
        message = letters.compose(
            session, open_store(engine), mail, sender=sender, public_url=public_url or settings.public_url, now=now
        )
        smtp.send(connection, message, parseaddr(sender)[1], recipient)
    except smtp.NotSent as error:
        note_failure(session, mail, str(error), now, may_retry=may_retry and not error.is_for_good)
        raise
    except Exception as error:
        session.rollback()
        log.exception("the report of mail %d cannot be made", mail.id)
        note_failure(
            session, mail, "The report could not be made; the server's log says why.", now, may_retry=may_retry
        )
        raise smtp.NotSent("The report could not be made.") from error
    note_sent(session, mail, now)


class Postman:
    """Sends what is due on a thread of its own: a mail server that is slow holds nobody up but the next mails."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def go(self, settings: Settings, engine: Engine, now: datetime) -> None:
        """Starts sending, unless there is no server for it, or mails are still under way."""
        if settings.smtp is None or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._send, args=(settings, engine, now), name="mails", daemon=True)
        self._thread.start()

    def _send(self, settings: Settings, engine: Engine, now: datetime) -> None:
        try:
            send_due(settings, engine, now)
        except Exception:
            log.exception("mails could not be sent")

    def wait(self) -> None:
        """Until those under way are done."""
        if self._thread is not None:
            self._thread.join()
