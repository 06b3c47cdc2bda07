"""Where a visitor came from, in one word."""

from __future__ import annotations

import pytest

from tracker.channels import CHANNELS, REWRITERS, channel_of
from tracker.web import words

pytestmark = pytest.mark.any_database

HOSTS = {
    "search": """
        www.google.de google.co.uk google.com.tr news.google.com m.google.com bing.com de.search.yahoo.com
        yandex.com.tr search.brave.com com.google.android.googlequicksearchbox
    """,
    "social": """
        l.facebook.com lm.facebook.com t.co x.com www.linkedin.com old.reddit.com go.bsky.app de.pinterest.com
        pinterest.co.uk t.umblr.com com.linkedin.android news.ycombinator.com
    """,
    "mail": """
        mail.google.com com.google.android.gm outlook.live.com us.mail.yahoo.com webmail.shop.example
        mail.shop.example nam01.safelinks.protection.outlook.com urldefense.com url.uk.m.mimecastprotect.com
        eu-central-1.protection.sophos.com e.mail.ru navigator.gmx.net
    """,
    "chat": """
        web.whatsapp.com t.me com.slack app.slack.com org.telegram.messenger teams.microsoft.com
        statics.teams.cdn.office.net discord.com
    """,
    "ai": """
        chatgpt.com chat.openai.com www.perplexity.ai gemini.google.com claude.ai yiyan.baidu.com
        copilot.microsoft.com grok.com chat.deepseek.com
    """,
    "video": """
        m.youtube.com youtu.be vimeo.com
    """,
    "shopping": """
        www.amazon.co.jp smile.amazon.de ebay.fr shopping.google.com etsy.com
    """,
    "paid": """
        www.googleadservices.com ad.doubleclick.net
    """,
    "referral": """
        shop.example docs.google.com google.evil.example notgoogle.com evilbing.com a.b.c.d
        amazon.com.evil.example com .
    """,
}


def test_a_host_has_the_channel_of_the_longest_name_that_fits() -> None:
    wrong = {
        host: found
        for channel, hosts in HOSTS.items()
        for host in hosts.split()
        if (found := channel_of(host, "podcast")) != channel
    }
    assert wrong == {}


def test_who_comes_over_a_mail_gateway_was_reading_mail() -> None:
    assert len(REWRITERS) == len(dict(REWRITERS))
    for host, _ in REWRITERS:
        assert channel_of(host, "podcast") == channel_of(f"a.b.{host}", "podcast") == "mail", host


@pytest.mark.parametrize(
    "medium",
    ["cpc", "CPC", " ppc ", "cpm", "paid", "paid-social", "paid_search", "paidsearch", "social_cpc", "display"],
)
def test_a_paid_link_is_paid_wherever_it_was_clicked(medium: str) -> None:
    assert channel_of("www.google.de", medium) == channel_of(None, medium) == "paid"


@pytest.mark.parametrize("medium", ["prepaid", "seminar", "unpaid", "recap", "podcast", "qr", ""])
def test_a_medium_that_only_resembles_a_paid_one_is_not(medium: str) -> None:
    assert channel_of(None, medium) == "direct"


def test_who_brings_no_referrer_came_by_what_the_link_s_medium_says() -> None:
    assert [channel_of(None, medium) for medium in ("email", "E-Mail", "newsletter", "social", "sms")] == [
        *["mail"] * 3,
        "social",
        "chat",
    ]
    assert channel_of("www.facebook.com", "email") == "social"


def test_every_channel_has_its_words() -> None:
    assert set(words.CHANNELS) == set(CHANNELS)
    assert {*HOSTS, "direct"} == set(CHANNELS)
