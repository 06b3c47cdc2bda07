"""What the pages call things: every verdict, kind and result has its words in one place."""

from __future__ import annotations

from tracker.events import Kind, Verdict
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
    "refused": "Kept, but a value cannot be used.",
}
REASONS = {
    "no_click_id": "no click id",
    "macro_not_replaced": "placeholder not replaced",
    "bad_click_id": "click id not genuine",
    "foreign_click_id": "another workspace's click id",
    "unknown_link": "link no longer stored",
    "bad_value": "bad value",
    "test": "test",
}
STATUSES = {"pending": "pending", "approved": "approved", "rejected": "rejected", "refunded": "refunded"}
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


def reason(word: str | None) -> str:
    return "" if word is None else REASONS.get(word, word.replace("_", " "))


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


SIGNATURE_MODES = {
    "off": "Off: they are not looked at",
    "accepted": "Accepted: a wrong one is refused, none is fine",
    "required": "Required: callbacks without one are refused",
}
