"""What a comparison of variants comes to, in plain sentences that claim no more than its sequences do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from tracker.reports.comparable import Near
from tracker.reports.experiment import CONVERSIONS_SAMPLED, Comparison, Variant
from tracker.reports.trial import EXPECTED_MIN, Outcome, Pair, SampleRatio, Trial
from tracker.web import formats

# Each metric: what it is called, what its hits and its trials are.
METRICS = {
    "ctr": ("click-through rate", "unique clicks", "impressions"),
    "conversion_rate": ("conversion rate", "conversions", "unique clicks"),
}
COUNTED = {"impressions": "impressions", "unique_clicks": "unique clicks"}
FIELDS = {
    "source": "source",
    "medium": "medium",
    "id": "id",
    "term": "term",
    "content": "content",
    "destination": "destination",
}
NUMBERS = {2: "Two", 3: "Three", 4: "Four", 5: "Five", 6: "Six"}
MORE_TIMES_MAX = 20  # as many trials as there are; who would have to wait for more has an answer already
NAMED_MAX = 3
NAME_MAX = 60


@dataclass(frozen=True, slots=True)
class Said:
    """A verdict: what it comes to, and the rest of it. `tone` is `settled`, `open` or `early`."""

    tone: str
    head: str
    rest: str


def name(comparison: Comparison, variant: Variant) -> str:
    """What a variant is called: by the one short value it differs in, else as its link is."""
    link = variant.links[0]
    if comparison.differs in (("content",), ("term",)):
        return formats.value(comparison.differs[0], getattr(link, comparison.differs[0]))[:NAME_MAX]
    return (link.title or link.code)[:NAME_MAX]


def verdict(comparison: Comparison, metric: str) -> Said | None:
    """None where fewer than two variants have a rate."""
    trial = comparison.trials[metric]
    if trial is None:
        return None
    names = [name(comparison, variant) for variant in comparison.variants]
    outcome = trial.outcome
    if outcome is Outcome.EARLY:
        return Said("early", "Too early to tell.", _early(trial, metric))
    leader = names[trial.leader]
    if outcome is Outcome.OPEN:
        return Said("open", "No difference is shown yet.", _open(trial, metric, names))
    is_all = outcome is Outcome.BEST and len(trial.taking_part) > 2
    head = f"{leader} is ahead{' of all others' if is_all else ''}."
    return Said("settled", head, _ahead(trial, metric, names, is_whole=comparison.is_whole))


def _early(trial: Trial, metric: str) -> str:
    rate, hits, trials = METRICS[metric]
    counts = _listed([formats.number(trial.rates[place].hits) for place in trial.taking_part], most=8)
    text = f"To compare {rate}s each variant should be good for {EXPECTED_MIN} {hits}; so far there are {counts}."
    waiting = trial.next_settled
    if waiting and waiting.more:
        enough = "will do" if len(trial.taking_part) == 2 else "will do for a first pair"
        text += f" About {rounded(waiting.more)} more {trials} {enough}, as they come now."
    return text


def _open(trial: Trial, metric: str, names: Sequence[str]) -> str:
    rate = METRICS[metric][0]
    leader = trial.leader
    others = [place for place in trial.taking_part if place != leader]
    second = max(others, key=lambda place: trial.rates[place].value or 0)
    highest, next_highest = formats.rate(trial.rates[leader]), formats.rate(trial.rates[second])
    if trial.rates[leader].value == trial.rates[second].value:
        return f"The {rate} is {highest} for {names[leader]} and for {names[second]}."
    text = f"The {rate} is {highest} for {names[leader]} and {next_highest} for {names[second]}"
    return f"{text}, which may still be chance. {_more(trial, metric, names)}".strip()


def _ahead(trial: Trial, metric: str, names: Sequence[str], *, is_whole: bool) -> str:
    beaten = trial.beaten
    above = [f"{between(pair)} above {names[pair.second]}" for pair in beaten[:NAMED_MAX]]
    if len(beaten) > NAMED_MAX:
        above.append(f"more above {len(beaten) - NAMED_MAX} others")
    hold = ", and this holds however often you look." if is_whole else " in these days."
    text = f"Its {METRICS[metric][0]} is {_listed(above)}{hold}"
    against = {pair.second for pair in beaten} | {trial.leader}
    rest = [names[place] for place in trial.taking_part if place not in against]
    if rest:
        text += f" Against {_listed(rest)} it is not settled."
    return f"{text} {_more(trial, metric, names)}".strip()


def _more(trial: Trial, metric: str, names: Sequence[str]) -> str:
    """How much would settle what is open; nothing where all is settled."""
    if all(pair.is_settled for pair in trial.pairs):
        return ""
    trials = METRICS[metric][2]
    pair = trial.next_settled
    if pair is None or not pair.more or pair.more > MORE_TIMES_MAX * trial.trials_of(pair):
        so_far = f"more than {MORE_TIMES_MAX} times the {trials} there are"
        return f"What is open is so close that it would take {so_far} to tell it apart."
    purpose = "be enough to compare" if pair.is_early else "settle"
    joined = "and" if pair.is_early else "against"
    wanted = f"{names[pair.first]} {joined} {names[pair.second]}"
    return f"About {rounded(pair.more)} more {trials} would {purpose} {wanted}, if the rates stay as they are."


def between(pair: Pair) -> str:
    """The limits of a difference as `0.2 to 2.3 points`, in as many places as keep a low one from looking like none."""
    low, high = pair.low or 0.0, pair.high or 0.0
    return f"{formats.scaled(low, _places(low, high))} to {formats.scaled(high, _places(low, high))} points"


def limits(pair: Pair) -> str:
    """The limits of a difference in points, with their signs; nothing where it is too early."""
    if pair.low is None or pair.high is None:
        return ""
    places = _places(pair.low, pair.high)
    return f"{formats.signed_scaled(pair.low, places)} to {formats.signed_scaled(pair.high, places)} pt"


def _places(low: float, high: float) -> int:
    if low < 0 < high:
        return 1 if max(-low, high) >= 0.01 else 2
    least = min(abs(low), abs(high))
    return 1 if least >= 5e-4 else 2 if least >= 5e-5 else 3


def rounded(n: int) -> str:
    """To two digits: an estimate has no more."""
    size = 10 ** max(floor(log10(n)) - 1, 0)
    return formats.number(-(-n // size) * size)


def standing(pair: Pair | None) -> str:
    """How a variant stands against the control, in a word or two."""
    if pair is None:
        return "–"
    if pair.is_early:
        return "too early"
    if not pair.is_settled:
        return "open"
    return "above" if pair.difference > 0 else "below"


def changed(differs: Sequence[str]) -> str | None:
    """What to know of a comparison whose links differ in several things, or in none; None where it is one thing."""
    if len(differs) == 1:
        return None
    if not differs:
        return "These links differ in nothing but their code: what is seen between them is chance."
    named = _listed([FIELDS[each] for each in differs])
    return f"{NUMBERS[len(differs)]} things changed, {named}: you will not know which one did it."


def moved(comparison: Comparison) -> str | None:
    """What to know where links were led elsewhere while they were compared; None where none was."""
    if not comparison.moved:
        return None
    codes, last = _listed(list(comparison.moved)), formats.day(max(comparison.moved.values()))
    were, their = ("was", "its") if len(comparison.moved) == 1 else ("were", "their")
    return (
        f"{codes} {were} led elsewhere within these days, last on {last}: {their} rates may be of more than one page."
    )


def title(comparison: Comparison) -> str:
    """What a comparison is headed by."""
    return _capital(FIELDS[comparison.differs[0]]) if len(comparison.differs) == 1 else "Chosen links"


def chance(value: float) -> str:
    """To whole percents, and neither never nor always."""
    return "< 1 %" if value < 0.005 else "> 99 %" if value > 0.995 else formats.share(value)


def near(pair: Near) -> str:
    return str(changed(pair.differs))


def alike(comparison: Comparison) -> str:
    """What is the same and what differs: `same source, medium and destination; only the content differs`."""
    if len(comparison.differs) != 1:
        return f"same {_listed([FIELDS[each] for each in comparison.same])}" if comparison.same else ""
    same = [each for each in ("source", "medium", "term", "content", "destination") if comparison.same.get(each)]
    return f"same {_listed([FIELDS[each] for each in same])}; only the {FIELDS[comparison.differs[0]]} differs"


def missing(comparison: Comparison, metric: str) -> str | None:
    """Why a metric is not compared."""
    if comparison.trials[metric]:
        return None
    rates = [getattr(variant, metric) for variant in comparison.variants]
    if metric == "ctr" and any(rate.trials and not rate.is_proportion for rate in rates):
        return "There are more clicks than impressions: the pixel is blocked or missing, so there is no rate of clicks."
    if metric == "ctr":
        return "Fewer than two of them have impressions, so click-through rates cannot be compared."
    return "Fewer than two of them have unique clicks, so conversion rates cannot be compared."


def ratio(found: SampleRatio, names: Sequence[str], by: str) -> str:
    """What the check of a split says."""
    seen = _listed([f"{formats.number(n)} of {each}" for n, each in zip(found.observed, names, strict=True)], most=8)
    expected = _listed([formats.number(round(sum(found.observed) * share)) for share in found.shares], most=8)
    figures = f"{COUNTED[by]}: {seen}; {expected} were meant (chi-square {found.chi_square:.2f}, {_p_text(found.p)})"
    if found.is_off:
        return (
            f"The traffic did not come as it was split. {_capital(figures)}. Chance does this less than once in a "
            "thousand times: something loses visitors on one side. Find out what before you trust any of these rates."
        )
    return f"The traffic came as it was split. {_capital(figures)}."


def estimated() -> str:
    newest = formats.number(CONVERSIONS_SAMPLED)
    return f"How many of the conversions are repeats is estimated, from the newest {newest} of them."


def _p_text(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.01 else f"p = {p:.2f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(texts: Sequence[str], most: int = NAMED_MAX + 1) -> str:
    """`a`, `a and b`, `a, b and c`; the rest of many as a number."""
    shown = list(texts) if len(texts) <= most else [*texts[: most - 1], f"{len(texts) - most + 1} others"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
