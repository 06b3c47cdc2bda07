"""What the page checker may find, by name: how bad it is, what it is called, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """From the best to the worst."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


class Meaning(NamedTuple):
    severity: Severity
    title: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found; `sentence` says what exactly, on this page."""

    name: str
    sentence: str

    @property
    def severity(self) -> Severity:
        return MEANINGS[self.name].severity

    @property
    def title(self) -> str:
        return MEANINGS[self.name].title

    @property
    def advice(self) -> str:
        return MEANINGS[self.name].advice


OK, NOTE, WARNING, ERROR = Severity

# Names are stable: they stand in addresses, tickets and other people's notes.
MEANINGS = {
    # Why a page was not fetched.
    "address_malformed": Meaning(ERROR, "No address of a page", "Copy the address out of the browser’s address bar."),
    "address_credentials": Meaning(ERROR, "A user name in the address", "Take out what stands before the @."),
    "address_port": Meaning(ERROR, "An unusual port", "Have the page answer on port 80 or 443."),
    "address_private": Meaning(
        ERROR,
        "A private address",
        "Only pages that everybody can open are fetched. On an intranet of your own, whoever runs the tracker can open "
        "networks with TRACKER_CHECKER_ALLOW.",
    ),
    "address_own": Meaning(ERROR, "This tracker itself", "Give the address of a page of your site, or a short link."),
    "link_inactive": Meaning(
        ERROR, "The link leads nowhere", "It is archived or has expired: restore it, or try another."
    ),
    "name_unknown": Meaning(ERROR, "An unknown host", "Look for a typing error; a new name takes a while to be known."),
    "unreachable": Meaning(
        ERROR, "No connection", "See whether the page opens in a browser, and whether a firewall is in between."
    ),
    "certificate": Meaning(
        ERROR, "No valid certificate", "Browsers warn visitors off this page; renew the certificate."
    ),
    "too_slow": Meaning(ERROR, "Too slow", "Visitors give up before that. Try again; if it stays, look at the server."),
    "headers_too_large": Meaning(ERROR, "Headers too large", "Look at the cookies and policies that the server sends."),
    "answer_malformed": Meaning(ERROR, "An answer that cannot be read", "See whether the page opens in a browser."),
    "redirect_malformed": Meaning(ERROR, "A redirect to no address", "Correct where this hop leads."),
    "redirects_endless": Meaning(
        ERROR,
        "Too many redirects",
        "If the page opens in a browser, it redirects whoever has no cookie: visitors on their first click have none.",
    ),
    "not_html": Meaning(ERROR, "Not a page", "Give the address of the page that visitors see."),
    "page_status": Meaning(
        ERROR,
        "The page is an error page",
        "If it opens in your browser, the site keeps programs out, this checker among them: read its source there.",
    ),
    # The way to the page.
    "page_cut": Meaning(NOTE, "Not all of it was read", "What stands further down was not looked at."),
    "page_moves_on": Meaning(WARNING, "The page sends visitors on", "Check the page it leads to as well."),
    "redirect_insecure": Meaning(
        WARNING, "From https to http", "Let every hop lead to https://, or browsers may warn."
    ),
    "click_id_kept": Meaning(OK, "The click id arrives"),
    "click_id_off": Meaning(WARNING, "The link adds no click id", "Switch the click id on in the link’s settings."),
    "click_id_lost": Meaning(
        ERROR,
        "The click id is lost",
        "Have that redirect pass the query on, or let the link lead straight to where it ends.",
    ),
    "click_id_name": Meaning(
        ERROR, "The click id has another name", 'Give the script this name: data-param="…" on its tag.'
    ),
    "click_id_fragment": Meaning(
        ERROR, "The click id stands behind #", "Servers and t.js read the query: let {clickid} stand before the #."
    ),
    # The script.
    "snippet_found": Meaning(OK, "t.js is on the page"),
    "snippet_absent": Meaning(
        ERROR, "t.js is not on the page", "Paste the script from the Install page into the page’s head."
    ),
    "snippet_commented_out": Meaning(ERROR, "t.js is commented out", "Take away the <!-- and --> around it."),
    "snippet_inert": Meaning(ERROR, "t.js stands where no script runs", "Move it out of the noscript or template."),
    "snippet_waits": Meaning(
        NOTE,
        "t.js waits for something",
        "Its type keeps browsers from running it, as consent tools do. See that it runs once somebody agreed.",
    ),
    "snippet_twice": Meaning(WARNING, "t.js is there more than once", "One is enough: the others do nothing."),
    "snippet_insecure": Meaning(
        ERROR, "t.js is loaded over http", "Browsers block it on a page of https: use https://."
    ),
    "wrong_key": Meaning(ERROR, "Another key", "Copy the snippet from the Install page once more: it has your key."),
    "wrong_host": Meaning(
        ERROR, "Another host", "Copy the snippet from the Install page once more: it has this tracker’s address."
    ),
    "site_host": Meaning(
        WARNING,
        "The page’s own host",
        "That works if the site passes /t.js and /c/ on to this tracker; a mere copy of the file reports to nobody.",
    ),
    "tag_manager": Meaning(
        WARNING,
        "A tag manager",
        "It may insert what is missing here. This check runs no script: try it in the tag manager’s preview.",
    ),
    "call_early": Meaning(
        WARNING,
        "tracker.convert may come too early",
        't.js is deferred, so it is not there yet: put the call into <script type="module">.',
    ),
    # Policies.
    "csp_open": Meaning(OK, "No policy is in the way"),
    "csp_script": Meaning(
        ERROR,
        "The page’s policy blocks t.js",
        "Add the tracker’s address to it; beside a nonce or 'strict-dynamic', give the tag the nonce.",
    ),
    "csp_inline": Meaning(
        ERROR, "The page’s policy blocks the call", "Give the script the page’s nonce, or its hash to the directive."
    ),
    "csp_report": Meaning(
        WARNING,
        "Reports have to go as scripts",
        "t.js falls back to a script element, which any policy that lets it in lets through. Add the tracker’s address "
        "to connect-src: such reports outlast the page.",
    ),
    "csp_request": Meaning(
        WARNING,
        "Reports have to go as pictures",
        "Add the tracker’s address to connect-src: such reports outlast the page.",
    ),
    "csp_pixel": Meaning(ERROR, "The page’s policy blocks the pixel", "Add the tracker’s address to img-src."),
    # Reports.
    "pixel_found": Meaning(OK, "A conversion is reported"),
    "pixel_absent": Meaning(
        ERROR,
        "No conversion is reported",
        "Add the pixel or the call from the Install page. If your server reports by callback, nothing has to be here.",
    ),
    "pixel_inert": Meaning(ERROR, "The pixel stands in a template", "Move it out: nothing in a template is fetched."),
    "pixel_noscript": Meaning(
        WARNING,
        "The pixel is for visitors without scripts",
        "Within noscript, hardly any browser fetches it: move it out.",
    ),
    "pixel_lazy": Meaning(
        WARNING,
        "The pixel is loaded late",
        'Take out loading="lazy" or data-src: it waits until somebody scrolls there.',
    ),
    "pixel_insecure": Meaning(
        WARNING, "The pixel is fetched over http", "On a page of https, write https:// here too."
    ),
    "macro_left": Meaning(
        ERROR, "A placeholder is left", "Have the shop put its own value there; see its manual for the spelling."
    ),
    "parameters_glued": Meaning(ERROR, "Parameters are glued together", "Write &amp; once in HTML, and & in a script."),
    "parameter_invalid": Meaning(ERROR, "A parameter is not understood", "Correct it where the shop fills it in."),
    "value_invalid": Meaning(
        ERROR, "The value is no amount", "Write it with a point and without separators, as 1234.56."
    ),
    "value_absent": Meaning(NOTE, "No value", "Add value, or the conversion counts without revenue."),
    "currency_invalid": Meaning(ERROR, "The currency is no code", "Use three letters of ISO 4217, as EUR."),
    "currency_default": Meaning(NOTE, "No currency", "Add currency if some sales are in another one."),
    "order_absent": Meaning(WARNING, "No order id", "Add order: a page that is loaded again is then the same sale."),
    "click_id_absent": Meaning(WARNING, "The pixel has no click id", "Add cid, or the sale belongs to no click."),
    "click_id_invalid": Meaning(
        ERROR, "The click id is none of ours", "Use what the landing page got in its URL, unchanged."
    ),
}
