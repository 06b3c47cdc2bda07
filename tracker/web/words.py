"""What the pages call things: every verdict, kind and result has its words in one place."""

from __future__ import annotations

from tracker.events import Kind, Verdict
from tracker.models import Campaign
from tracker.reports.quality import Quality
from tracker.stores import LAST_DAYS_MAX as LAST_DAYS_MAX
from tracker.stores import SEARCHED_MAX as SEARCHED_MAX

# Each verdict: its name on a page, what many of them are called, and why it does or does not count.
VERDICTS: dict[str, tuple[str, str, str]] = {
    "counted": ("counted", "counted", "A person, as far as can be told."),
    "head": ("HEAD", "HEAD requests", "Asked for the headers only: a link checker, not a person."),
    "prefetch": ("prefetch", "prefetches", "The browser fetched it ahead, before anybody clicked."),
    "bot": ("bot", "bots and link previews", "The user agent is a bot, a tool or a link preview."),
    "scanner": ("scanner", "mail-scanner sweeps", "A mail-security scanner followed many links, or the invisible one."),
    "double_click": ("double click", "double clicks", "The same visitor had just clicked the same link."),
    "flood": ("flood", "floods", "One visitor asked more often in a minute than a person does."),
    "machine_open": ("machine open", "machine opens", "A mail provider fetched the picture at delivery."),
    "internal": ("internal", "internal hits", "From an address range that is left out, or the browser opted out."),
    "unknown_code": ("unknown code", "unknown codes", "No link has this code."),
    "inactive": ("inactive", "hits on links out of use", "The link was archived or had expired."),
    "test": ("test", "test hits", "Carries a test code: shown here, never in a report."),
}
GPC = "The browser asked not to be followed: counted, without click id and visitor, and in no export."
LABELS = {"via_proxy": "mail provider's image proxy"}
KINDS = {
    Kind.IMPRESSION: "impression",
    Kind.CLICK: "click",
    Kind.CONVERSION: "conversion",
    Kind.HONEYPOT: "honeypot",
    Kind.CALLBACK: "callback",
}
RESULTS = {
    "recorded": "A new conversion.",
    "duplicate": "Known already; nothing changed.",
    "updated": "Known already; something was added or changed.",
    "unmatched": "Kept, but it belongs to no click.",
    "refused": "Kept, but it cannot be used as it is.",
    "test": "Tried out: shown, and counted nowhere.",
}
RESULT_TONES = {"unmatched": "warning", "refused": "bad", "duplicate": "plain", "test": "plain"}
# How a report or a change came in: in a line, and the reports of each way.
VIAS = {"pixel": "conversion pixel", "callback": "callback", "import": "import", "hand": "by hand"}
WAYS = {"pixel": "pixels", "callback": "callbacks", "import": "imports"}
# What became of a report under a test code, or would have.
TRIED = {
    "recorded": "would be a new conversion",
    "duplicate": "the same sale again, nothing new",
    "updated": "the same sale again, with news",
    "unmatched": "would be kept, and belong to no click",
    "refused": "would be refused",
}
STEPS = {
    "impression": "An impression came in.",
    "click": "A click came in.",
    "report": "A conversion was reported.",
    "matched": "It found its click.",
}
NEXT_STEPS = {
    "impression": "No impression yet: open the address of the impression pixel, or the mail that holds it.",
    "click": "No click yet: open the short link in a browser, as a visitor would.",
    "report": "No conversion yet: go on to your thank-you page as if you bought. t.js passes the code on.",
    "matched": "No report has found its click: pass on the cid that the landing page got in its URL.",
}
# What a source of reports is taken by, what its reports carry, how good that is, and what those without it cost.
QUALITY_BY = {"way": "how they came", "sender": "who sent them", "source": "utm_source of the matched link"}
QUALITY = {
    "cid": "Click id",
    "genuine": "Genuine",
    "order": "Order",
    "value": "Value",
    "currency": "Currency",
    "customer": "Customer",
    "matched": "Matched",
    "duplicate": "Repeats",
}
GRADES = {"good": "good", "fair": "could be better", "poor": "poor"}
ADVICE = {
    "cid": "have no click id, and only some find their sale without: add cid={clickid}, as the landing page got it.",
    "genuine": "(with a click id) have one that is not genuine: cut short, changed or made up. Pass it on as it is.",
    "order": "have no order id: a repeated report cannot be told from a second sale. Add order={{order_id}}.",
    "value": "have no value: these sales count without money. Add value={{order_total}}.",
    "currency": "(with a value) have no currency: the workspace’s is taken. Add currency=EUR, or what was paid in.",
    "customer": "have no customer: a sale on another device finds no click. Add customer={{customer_id}}.",
}
# What to do where something has never been seen on a link.
NEVER = {
    "impression": "paste its pixel beside it",
    "click": "follow it once",
    "conversion": "see what to install",
}
MATCHED_BY = {"click": "by its click id", "customer": "by its customer", "view": "by an impression", "hand": "by hand"}
REASONS = {
    "no_click_id": "no click id",
    "macro_not_replaced": "placeholder not replaced",
    "bad_click_id": "click id not genuine",
    "foreign_click_id": "another workspace's click id",
    "unknown_link": "link no longer stored",
    "signature_required": "not signed",
    "bad_value": "bad value",
    "bad_signature": "bad signature",
    "replayed": "signature used before",
    "address_not_allowed": "from an address that may not report",
    "test": "test",
}
# How bad a need is: its tone, its mark, and its word.
SEVERITIES = {"bad": ("error", "!", "Urgent"), "warning": ("warning", "?", "Worth a look")}
# What is wrong with a destination that was asked for, after its address.
FAILURES = {
    "name_unknown": "has no host: its name does not resolve",
    "unreachable": "does not answer",
    "too_slow": "takes too long to answer",
    "certificate": "has no valid certificate",
    "redirects_endless": "redirects without end",
    "redirect_malformed": "redirects to something that is no address",
}
# How a click is known to have led to a sale.
TOUCHED = {
    "report": "named by the report",
    "script": "kept by t.js",
    "customer": "another device of the customer",
    "visitor": "the same visitor that day",
    "forgotten": "forgotten since",
}
STATUSES = {"pending": "pending", "approved": "approved", "rejected": "rejected", "refunded": "refunded"}
# Each model of attribution: its name, and what it does.
MODELS = {
    "last_click": ("Last click", "All to the last click."),
    "first_click": ("First click", "All to the first click."),
    "linear": ("Linear", "The same to each click."),
    "time_decay": ("Time decay", "Half as much for each 7 days earlier."),
    "position_based": ("Position based", "40 % to the first and to the last, 20 % to those between."),
}
COST_ORIGINS = {
    "form": "by hand",
    "api": "API",
    "google": "Google Ads",
    "meta": "Meta Ads Manager",
    "microsoft": "Microsoft Advertising",
    "csv": "plain file",
}
QUERY_MODES = {
    "link_wins": "Keep the link's utm_* values, append the visitor's other parameters",
    "visitor_wins": "Let the visitor's utm_* values win, append the other parameters",
    "drop": "Drop everything the visitor brings",
}
REDIRECT_CODES = {
    302: "302, temporary (recommended)",
    301: "301, permanent",
    307: "307, temporary, keeps the method",
    308: "308, permanent, keeps the method",
}

# Each dimension: the title of its table, and of the table's first column.
DIMENSIONS = {
    "channel": ("Channels", "Channel"),
    "referrer": ("Referrers", "Referrer"),
    "country": ("Countries", "Country"),
    "language": ("Languages", "Language"),
    "device": ("Devices", "Device"),
    "os": ("Systems", "System"),
    "browser": ("Browsers", "Browser"),
}
FIELDS = {"link": "Link", "content": "Content", "source": "Source", "medium": "Medium", "term": "Term"}
FIELD_TITLES = {"link": "Links", "content": "Contents", "source": "Sources", "medium": "Mediums", "term": "Terms"}
# Tables of which one card shows one: the name of each there.
TABS = {name: title for name, (title, _) in DIMENSIONS.items()} | FIELD_TITLES
TABS |= {"models": "Attribution", "paths": "Paths and times"}
FILTERS = FIELDS | {name: title for name, (_, title) in DIMENSIONS.items()}
CHANNELS = {
    "search": "Search",
    "social": "Social media",
    "mail": "Mail",
    "chat": "Chat",
    "ai": "AI assistants",
    "video": "Video",
    "shopping": "Shopping sites",
    "paid": "Paid",
    "referral": "Other sites",
    "direct": "Direct",
}
DEVICES = {"mobile": "Mobile", "tablet": "Tablet", "desktop": "Desktop"}
UNKNOWN = {"referrer": "no referrer"}


def verdict(number: int) -> str:
    return VERDICTS[Verdict(number).word][0]


def verdict_reason(number: int) -> str:
    return VERDICTS[Verdict(number).word][2]


def counted(number: int) -> bool:
    return number == Verdict.COUNTED


def filtered(word: str) -> str:
    """What many events of one verdict are called."""
    return VERDICTS[word][1]


def filtered_reason(word: str) -> str:
    return VERDICTS[word][2]


def label(text: str | None) -> str:
    """What a verdict rests on, as it is called on a page."""
    return "" if text is None else LABELS.get(text, text)


def kind(number: int) -> str:
    return KINDS[Kind(number)]


def of_result(word: str) -> str:
    """A result as a word among others."""
    return {"test": "a test"}.get(word, word)


def reason(word: str | None) -> str:
    return "" if word is None else REASONS.get(word, word.replace("_", " "))


def quality_source(row: Quality, by: str) -> str:
    """What a source of reports is called."""
    if by == "source":
        return row.name or "reports without a link"
    if by == "way" or row.name == row.via:
        return WAYS.get(row.via or "", row.name or "others")
    return f"{row.name or 'no user agent'} ({row.via}s)" if row.via else row.name or "others"


def failure(answer: str) -> str:
    """What a destination does instead of showing its page, by the status or name that a check noted."""
    return FAILURES.get(answer, f"answers {answer}")


def via(word: str) -> str:
    """How a report came in, at the head of a line."""
    named = VIAS.get(word, word)
    return named[:1].upper() + named[1:]


def times(n: int, one: str, many: str) -> str:
    """The noun that goes with a number."""
    return one if n == 1 else many


def heading(word: str) -> str:
    """The same at the head of a section: an abbreviation keeps its capitals."""
    name = VERDICTS[word][1]
    return name[0].upper() + name[1:]


def verdict_choices() -> list[tuple[str, str]]:
    return [(word, names[0]) for word, names in VERDICTS.items()]


def kind_choices() -> list[tuple[str, str]]:
    return [(kind.word, name) for kind, name in KINDS.items()]


def result_choices() -> list[tuple[str, str]]:
    return [(word, of_result(word)) for word in RESULTS]


def reason_choices() -> list[tuple[str, str]]:
    return list(REASONS.items())


def via_choices() -> list[tuple[str, str]]:
    return [(word, VIAS[word]) for word in ("pixel", "callback", "import")]


def status_choices() -> list[tuple[str, str]]:
    return list(STATUSES.items())


def matched_choices() -> list[tuple[str, str]]:
    return list(MATCHED_BY.items())


def as_they_are(found: list[str]) -> list[tuple[str, str]]:
    return [(each, each) for each in found]


def campaign_choices(found: list[Campaign]) -> list[tuple[str, str]]:
    return [(each.slug, each.name) for each in found]


SIGNATURE_MODES = {
    "off": "Off: they are not looked at",
    "accepted": "Accepted: a wrong one is refused, none is fine",
    "required": "Required: callbacks without one are refused",
}
