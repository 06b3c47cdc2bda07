"""The API's bodies and queries: names and JSON types. Whether a value makes sense is judged where it is used."""

from __future__ import annotations

import re
from typing import Any

import orjson
from flask import request
from marshmallow import Schema, ValidationError, fields, validate

from tracker import changelog, inbox
from tracker.claims import STATUSES
from tracker.credits import MODELS
from tracker.errors import Invalid, Malformed
from tracker.events import Kind, Verdict
from tracker.links import QUERY_MODES, REDIRECT_CODES, REFERRER_POLICIES
from tracker.reports import beforeafter
from tracker.reports.campaign import COMPARISONS

PAGE_DEFAULT = 50
PAGE_MAX = 500
BULK_MAX = 1000
TEXT_MAX = 200  # characters of a text to look for


def is_printable(text: str) -> None:
    """Refuses control characters, as filters of reports do: PostgreSQL knows no NUL."""
    if not text.isprintable():
        raise ValidationError("No control characters.")


SOUGHT = (validate.Length(1, TEXT_MAX), is_printable)


class LinkOptions(Schema):
    """What may be given of a link or not."""

    term = fields.String(allow_none=True)
    content = fields.String(allow_none=True)
    id = fields.String(allow_none=True)
    title = fields.String(allow_none=True)
    tags = fields.List(fields.String())
    expires_at = fields.AwareDateTime(allow_none=True)
    redirect_code = fields.Integer(strict=True, metadata={"enum": list(REDIRECT_CODES)})
    query_mode = fields.String(metadata={"enum": list(QUERY_MODES)})
    click_id_param = fields.String(
        allow_none=True, metadata={"description": "The click id's parameter; null for the setting's, empty for none."}
    )
    referrer_policy = fields.String(metadata={"enum": list(REFERRER_POLICIES)})
    fallback_url = fields.String(allow_none=True)
    cost_param = fields.String(
        allow_none=True,
        metadata={"description": "The parameter of the short link's query that says what a click cost; null for none."},
    )
    cost_currency = fields.String(
        allow_none=True, metadata={"description": "What that is in, as ISO 4217; null for the workspace's."}
    )


class LinkNew(LinkOptions):
    destination = fields.String(required=True)
    campaign = fields.String(required=True)
    source = fields.String(required=True)
    medium = fields.String(required=True)
    code = fields.String(allow_none=True)


class LinkEdit(LinkOptions):
    destination = fields.String()
    campaign = fields.String()
    source = fields.String()
    medium = fields.String()
    code = fields.String()
    archived = fields.Boolean(truthy={True}, falsy={False})


class LinksNew(Schema):
    links = fields.List(fields.Nested(LinkNew), required=True, validate=validate.Length(1, BULK_MAX))


class ConversionReport(Schema):
    """A report of the callback: all of it text, none of it required; aliases are in the README."""

    cid = fields.String(metadata={"description": "The click id that the landing page got, whole."})
    order = fields.String(metadata={"description": "The shop's number for the sale, up to 255 characters."})
    value = fields.String(metadata={"description": "A plain decimal in the currency's places, like 49.90."})
    currency = fields.String(metadata={"description": "ISO 4217; without one the workspace's."})
    goal = fields.String(metadata={"description": "What it is a conversion of; purchase unless told."})
    status = fields.String(validate=validate.OneOf(STATUSES), metadata={"description": "approved unless told."})
    customer = fields.String(metadata={"description": "Who bought; a keyed hash of it is kept."})
    event_id = fields.String(metadata={"description": "A name for this report: the same again changes nothing."})
    ts = fields.String(metadata={"description": "When it happened, in whole seconds since 1970."})
    test = fields.String(metadata={"description": "Anything but 0: counted nowhere."})


class CampaignNew(Schema):
    campaign = fields.String(required=True, metadata={"description": "The utm_campaign value."})
    name = fields.String(allow_none=True)


class CostNew(Schema):
    from_ = fields.String(data_key="from", required=True, metadata={"description": "First local date, inclusive."})
    to = fields.String(allow_none=True, metadata={"description": "Last local date; without it, it is one day's."})
    amount = fields.String(required=True, metadata={"description": "A decimal, as 310.00; of a credit below 0."})
    currency = fields.String(allow_none=True, metadata={"description": "ISO 4217; without one the workspace's."})
    source = fields.String(allow_none=True, metadata={"description": "The utm_source that it was spent on."})
    link = fields.String(allow_none=True, metadata={"description": "The code of the link that it was spent on."})
    impressions = fields.Integer(strict=True, allow_none=True, metadata={"description": "As the network counted."})
    clicks = fields.Integer(strict=True, allow_none=True, metadata={"description": "As the network counted."})


class CostsNew(Schema):
    costs = fields.List(fields.Nested(CostNew), required=True, validate=validate.Length(1, BULK_MAX))


class RateNew(Schema):
    currency = fields.String(required=True)
    from_ = fields.String(data_key="from", required=True, metadata={"description": "The local date it holds from."})
    rate = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "What one unit is worth in the workspace's currency, as 0.9215; null takes it away."},
    )


class RatesNew(Schema):
    rates = fields.List(fields.Nested(RateNew), required=True, validate=validate.Length(1, BULK_MAX))


class RatesQuery(Schema):
    currency = fields.String(load_default=None, validate=SOUGHT)


class Amount(Schema):
    amount = fields.String(required=True, validate=validate.Length(1), metadata={"description": "As 1500.00."})
    currency = fields.String(required=True, metadata={"description": "ISO 4217, as EUR."})


class CampaignEdit(Schema):
    name = fields.String()
    budget = fields.Nested(
        Amount, allow_none=True, metadata={"description": "What may be spent on it in all; null takes it away."}
    )
    attribution_model = fields.String(
        metadata={"enum": list(MODELS), "description": "The one that is marked among the models; no figure changes."}
    )
    click_window_days = fields.Integer(
        strict=True,
        metadata={"description": "Days after its click within which a conversion counts; for reports from now on."},
    )
    view_window_days = fields.Integer(
        strict=True, metadata={"description": "The same after an impression that no click followed."}
    )


class TestNew(Schema):
    link = fields.String(allow_none=True, metadata={"description": "A link's code, whose addresses are to be named."})


class PageQuery(Schema):
    limit = fields.Integer(load_default=PAGE_DEFAULT, validate=validate.Range(1, PAGE_MAX))
    cursor = fields.String(load_default=None)


class Filtered(Schema):
    """Filters of a report; `(none)` asks for what has no value."""

    link = fields.String(metadata={"description": "Only this link, by its code."})
    content = fields.String()
    source = fields.String()
    medium = fields.String()
    term = fields.String()
    channel = fields.String()
    referrer = fields.String(metadata={"description": "Only hits that came from this host."})
    country = fields.String(metadata={"description": "Only hits from this country, as ISO 3166 alpha-2."})
    language = fields.String()
    device = fields.String()
    os = fields.String()
    browser = fields.String()


class ShareNew(Filtered):
    title = fields.String()
    days = fields.Integer(
        strict=True, metadata={"description": "The last so many whole days, going on; 14 if not told."}
    )
    from_ = fields.String(data_key="from", metadata={"description": "First local date, for days that stay."})
    to = fields.String()
    interval = fields.String()
    compare = fields.String(metadata={"description": "previous, year or none."})
    by = fields.String()
    shows_money = fields.Boolean(load_default=True, truthy={True}, falsy={False})
    password = fields.String(load_only=True)
    expires_on = fields.String(metadata={"description": "The last local date on which the link works."})


class EventsQuery(PageQuery, Filtered):
    verdict = fields.String(load_default=None, validate=validate.OneOf([verdict.word for verdict in Verdict]))
    kind = fields.String(load_default=None, validate=validate.OneOf([kind.word for kind in Kind]))
    code = fields.String(
        load_default=None,
        validate=SOUGHT,
        metadata={"description": "A link's code, or one that no link had."},
    )
    label = fields.String(
        load_default=None,
        validate=SOUGHT,
        metadata={"description": "What the verdict rests on, as `label` names it."},
    )
    campaign = fields.String(load_default=None, validate=SOUGHT, metadata={"description": "A campaign's slug."})
    since = fields.AwareDateTime(load_default=None, metadata={"description": "Only from this instant on."})
    until = fields.AwareDateTime(load_default=None, metadata={"description": "Only before this instant."})


class CampaignChangesQuery(PageQuery):
    kind = fields.String(load_default=None, validate=validate.OneOf(changelog.KINDS))
    link = fields.String(load_default=None, validate=SOUGHT, metadata={"description": "Only this link, by its code."})


class ChangesQuery(CampaignChangesQuery):
    campaign = fields.String(
        load_default=None,
        validate=SOUGHT,
        metadata={"description": "A campaign's slug; those of the whole workspace come too."},
    )


class EffectQuery(Schema):
    days = fields.Integer(
        load_default=beforeafter.DAYS_DEFAULT,
        validate=validate.Range(1, beforeafter.DAYS_MAX),
        metadata={"description": "On each side, as far as there are so many."},
    )


class NoteNew(Schema):
    note = fields.String(required=True)
    at = fields.AwareDateTime(allow_none=True, metadata={"description": "When it was; now unless told."})


class NoteEdit(Schema):
    note = fields.String()
    at = fields.AwareDateTime()


class SalesQuery(PageQuery):
    campaign = fields.String(load_default=None, validate=SOUGHT, metadata={"description": "A campaign's slug."})
    sale = fields.String(
        load_default=None, validate=SOUGHT, metadata={"description": "An order id or a click id, exactly."}
    )
    from_ = fields.Date(data_key="from", load_default=None, metadata={"description": "First local date, inclusive."})
    to = fields.Date(load_default=None, metadata={"description": "Last local date, inclusive."})


class ReportsQuery(SalesQuery):
    result = fields.String(load_default=None, validate=validate.OneOf(inbox.RESULTS))
    reason = fields.String(load_default=None, validate=validate.OneOf(inbox.REASONS))
    goal = fields.String(load_default=None, validate=SOUGHT)
    status = fields.String(load_default=None, validate=validate.OneOf(STATUSES))
    via = fields.String(load_default=None, validate=validate.OneOf(inbox.VIAS))


class ConversionsQuery(SalesQuery):
    status = fields.String(load_default=None, validate=validate.OneOf(STATUSES))
    goal = fields.String(load_default=None, validate=SOUGHT)
    matched_by = fields.String(load_default=None, validate=validate.OneOf(inbox.MATCHED_BY))


class ConversionEdit(Schema):
    status = fields.String(metadata={"enum": list(STATUSES)})
    value = fields.String(metadata={"description": "A decimal, as 49.90."})
    currency = fields.String()


class ReportMatch(Schema):
    click_id = fields.String()
    campaign = fields.String(metadata={"description": "A campaign's slug."})


class ImportQuery(Schema):
    dry_run = fields.Boolean(load_default=False)


class PeriodQuery(Schema):
    from_ = fields.String(data_key="from", load_default=None, metadata={"description": "First local date, inclusive."})
    to = fields.String(load_default=None, metadata={"description": "Last local date, inclusive."})


class AttributionQuery(Filtered):
    from_ = fields.String(data_key="from", load_default=None, metadata={"description": "First local date, inclusive."})
    to = fields.String(load_default=None, metadata={"description": "Last local date, inclusive."})
    table = fields.String(
        load_default="models",
        validate=validate.OneOf(["models", "links", "paths"]),
        metadata={"description": "Which table a CSV holds."},
    )


class StatsQuery(Filtered):
    from_ = fields.String(data_key="from", load_default=None, metadata={"description": "First local date, inclusive."})
    to = fields.String(load_default=None, metadata={"description": "Last local date, inclusive."})
    compare = fields.String(
        load_default=None,
        validate=validate.OneOf(COMPARISONS),
        metadata={"description": "`previous`: directly before; `year`: 52 weeks before; `custom`: from another day."},
    )
    compare_from = fields.String(load_default=None, metadata={"description": "The first local date of `custom`."})
    group_by = fields.String(load_default=None)
    interval = fields.String(load_default="day")
    by = fields.String(
        load_default="click",
        validate=validate.OneOf(["click", "conversion"]),
        metadata={"description": "Which date conversions have: their click's, or their own."},
    )


class VariantsQuery(Schema):
    from_ = fields.String(
        data_key="from",
        load_default=None,
        metadata={"description": "First local date; without dates all since it began."},
    )
    to = fields.String(load_default=None, metadata={"description": "Last local date, inclusive."})
    links = fields.String(
        load_default="", metadata={"description": "Codes of links to compare with each other, with commas between."}
    )
    control = fields.String(
        load_default=None, metadata={"description": "The code of the link that others are held against; the oldest."}
    )
    split = fields.String(
        load_default="",
        metadata={"description": "How the traffic was meant to be split, as 50,50 in the order of links."},
    )


class PlannerQuery(Schema):
    baseline = fields.String(load_default=None, metadata={"description": "The rate now, in percent: 2.4 is 2.4 %."})
    lift = fields.String(load_default=None, metadata={"description": "The smallest lift worth having; 20 unless told."})
    unit = fields.String(
        load_default=None,
        validate=validate.OneOf(["relative", "points"]),
        metadata={"description": "Whether a lift is in percent of the rate (unless told) or in points."},
    )
    power = fields.String(load_default=None, metadata={"description": "In percent; 80 unless told."})
    significance = fields.String(load_default=None, metadata={"description": "In percent, two-sided; 5 unless told."})
    variants = fields.String(load_default=None, metadata={"description": "How many, with the one there is; 2."})
    daily = fields.String(load_default=None, metadata={"description": "Trials a day of all variants together."})
    campaign = fields.String(
        load_default=None, metadata={"description": "A campaign's slug, to take baseline and daily traffic from."}
    )
    metric = fields.String(load_default="conversion_rate", validate=validate.OneOf(["ctr", "conversion_rate"]))


def _flat(messages: Any, path: str = "") -> dict[str, str]:
    """Marshmallow's nested messages as one sentence a field, `tags.0` for what lies inside a list."""
    if isinstance(messages, dict):
        found: dict[str, str] = {}
        for name, inner in messages.items():
            found |= _flat(inner, f"{path}.{name}" if path else str(name))
        return found
    return {path or "body": " ".join(map(str, messages))}


def _place(path: str) -> str:
    """Where a message belongs, as other errors name it: `links.3.code` is `links[3].code`, what fits nowhere `body`."""
    path = path.removesuffix("._schema")
    return "body" if path == "_schema" else re.sub(r"^(links|costs|rates)\.(\d+)", r"\1[\2]", path)


def load(schema: type[Schema], content: Any) -> dict[str, Any]:
    """The content by this schema. Raises Invalid, naming each field."""
    try:
        loaded: dict[str, Any] = schema().load(content)
    except ValidationError as error:
        messages = _flat(error.messages)
        raise Invalid({_place(field): text for field, text in messages.items()}) from None
    return loaded


def read_body(schema: type[Schema]) -> dict[str, Any]:
    try:
        content = orjson.loads(request.get_data())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Malformed({"body": "The body is a JSON object."})
    return load(schema, content)


def read_query(schema: type[Schema]) -> dict[str, Any]:
    return load(schema, request.args.to_dict())
