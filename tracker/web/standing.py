"""How a campaign stands beside the workspace's others of its medium, in words."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.reports.benchmarks import RATES, Benchmark
from tracker.web import formats

STEPS = {"ctr": "impression → click", "conversion_rate": "click → conversion"}
NAMES = {"ctr": "CTR", "conversion_rate": "conversion rate"}
ADVICE = {
    "ctr": "Few of those who see it want to know more: look at the ad or the mail itself.",
    "conversion_rate": "What is clicked does its work; look at the landing page.",
}
KINDS = {"email": "e-mail campaigns", "cpc": "paid-search campaigns", "paid_social": "paid-social campaigns"}


@dataclass(frozen=True, slots=True)
class Standing:
    """`sentence` says what to do, `figures` what others have: each a text, or None."""

    sentence: str | None
    figures: str


def said(found: Benchmark | None) -> Standing | None:
    if found is None:
        return None
    others = f"your other {KINDS.get(found.medium, f'“{found.medium}” campaigns')}"
    weakest, sentence = found.weakest, None
    if weakest is not None:
        theirs = formats.percent(getattr(found, weakest).median)
        sentence = (
            f"The step that loses most against {others} is {STEPS[weakest]} (theirs: {theirs}). {ADVICE[weakest]}"
        )
    known = {name: standing for name in RATES if (standing := getattr(found, name))}
    figures = ", ".join(f"{NAMES[name]} {formats.percent(standing.median)}" for name, standing in known.items())
    n = max(standing.campaigns for standing in known.values())
    return Standing(sentence, f"{others[0].upper()}{others[1:]}, in the middle of {formats.number(n)}: {figures}.")
