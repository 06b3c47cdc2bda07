"""Through what kind of place a visitor came: search, mail, social … told by the link's medium and the referrer's host.

A link that says it is paid for is paid for. Else where the visitor came from decides; who brings no referrer came by
what the link's medium says, or directly. `docs/decisions/0015-dimensions.md` tells why.
"""

from __future__ import annotations

import re
from functools import lru_cache

REMEMBERED_MAX = 20_000
CHANNELS = ("search", "social", "mail", "chat", "ai", "video", "shopping", "paid", "referral", "direct")

# utm_medium as the trade writes it; Google Analytics' default channel group knows `.*cp.*`, `ppc`, `retargeting` and
# `paid.*` as paid (its help, "Default channel group").
_PAID = re.compile(
    r"cp[acmpv]|ecpm|ppc|ppv|sem|retargeting|remarketing|display|banner|sponsored|ads?|paid.*"
    r"|.*[ _-](cp[acmv]|ppc|ads?)"
)
_MEDIUMS = {
    "mail": {"email", "e-mail", "mail", "newsletter"},
    "social": {"social", "social-media", "social_media", "socialmedia", "social-network", "sm"},
    "chat": {"chat", "messenger", "whatsapp", "telegram", "sms"},
    "video": {"video"},
}
_OF_MEDIUM = {medium: channel for channel, mediums in _MEDIUMS.items() for medium in mediums}

# Mail gateways that lead each click over a host of their own: whoever comes from there was reading mail, and
# the gateway has this name. Each host stands for those below it too.
REWRITERS = (
    ("safelinks.protection.outlook.com", "Safe Links"),
    ("urldefense.com", "Proofpoint URL Defense"),
    ("urldefense.us", "Proofpoint URL Defense"),
    ("urldefense.proofpoint.com", "Proofpoint URL Defense"),
    ("linkprotect.cudasvc.com", "Barracuda Link Protection"),
    ("protect.mimecast.com", "Mimecast URL Protect"),
    ("protect-us.mimecast.com", "Mimecast URL Protect"),
    ("protect-eu.mimecast.com", "Mimecast URL Protect"),
    ("protect-au.mimecast.com", "Mimecast URL Protect"),
    ("protect-de.mimecast.com", "Mimecast URL Protect"),
    ("protect-za.mimecast.com", "Mimecast URL Protect"),
    ("mimecastprotect.com", "Mimecast URL Protect"),
    ("secure-web.cisco.com", "Cisco Secure Email"),
    ("protection.sophos.com", "Sophos Email"),
    ("clicktime.symantec.com", "Symantec Click-time"),
    ("click.email.symantec.com", "Symantec Click-time"),
    ("avanan.click", "Avanan"),
    ("url-protection.com", "Check Point"),
    ("protect.checkpoint.com", "Check Point"),
    ("emailprotection.link", "Email Protection Link"),
    ("link.edgepilot.com", "EdgePilot"),
    ("check.trendmicro.com", "Trend Micro"),
)

# Each host stands for those below it too, and the longest that fits decides. An Android app's referrer
# (`android-app://com.slack/`) has its package for a host.
_HOSTS = {
    "search": """
        bing.com duckduckgo.com search.yahoo.com yahoo.co.jp ecosia.org search.brave.com startpage.com qwant.com
        kagi.com yandex.ru yandex.com yandex.com.tr yandex.kz yandex.by ya.ru baidu.com sogou.com so.com naver.com
        daum.net seznam.cz swisscows.com mojeek.com ask.com search.aol.com com.google.android.googlequicksearchbox
    """,
    "social": """
        facebook.com fb.me instagram.com threads.net threads.com t.co twitter.com x.com linkedin.com lnkd.in
        com.linkedin.android com.facebook.katana com.instagram.android com.twitter.android reddit.com
        com.reddit.frontpage bsky.app mastodon.social mastodon.online tiktok.com snapchat.com tumblr.com
        umblr.com vk.com ok.ru weibo.com t.cn xing.com quora.com news.ycombinator.com pin.it com.pinterest
    """,
    "chat": """
        messenger.com whatsapp.com com.whatsapp t.me telegram.org org.telegram.messenger slack.com com.slack
        slack-redir.net discord.com discordapp.com com.discord teams.microsoft.com teams.cdn.office.net line.me
        com.facebook.orca
    """,
    "ai": """
        chatgpt.com chat.openai.com perplexity.ai gemini.google.com bard.google.com notebooklm.google.com
        copilot.microsoft.com copilot.com claude.ai grok.com deepseek.com meta.ai chat.mistral.ai you.com poe.com
        chat.qwen.ai doubao.com phind.com iask.ai yiyan.baidu.com com.openai.chatgpt
    """,
    "video": """
        youtube.com youtu.be vimeo.com dailymotion.com twitch.tv bilibili.com com.google.android.youtube
    """,
    "shopping": """
        etsy.com walmart.com aliexpress.com temu.com shein.com idealo.de allegro.pl rakuten.co.jp shopping.google.com
    """,
    # Where mail is read; what comes over a gateway was read there, too.
    "mail": """
        mail.google.com com.google.android.gm outlook.live.com outlook.office.com outlook.office365.com
        outlook.cloud.microsoft com.microsoft.office.outlook mail.yahoo.com mail.aol.com mail.proton.me mail.zoho.com
        mail.ru mail.yandex.ru mail.yandex.com mail.qq.com mail.163.com mail.126.com gmx.net gmx.com gmx.de web.de
        deref-gmx.net deref-web.de
    """,
    "paid": "googleadservices.com doubleclick.net googlesyndication.com taboola.com outbrain.com criteo.com adnxs.com",
}
_OF_HOST = {host: channel for channel, hosts in _HOSTS.items() for host in hosts.split()}
_OF_HOST |= {host: "mail" for host, _ in REWRITERS}

# Names that have a site in each country. What else is at Google (documents, groups) is not its search.
_NATIONAL = {"google": "search", "pinterest": "social", "amazon": "shopping", "ebay": "shopping"}
_NATIONAL_SITE = re.compile(
    r"((?:www\.|m\.|news\.|images\.)?(?=google\.)|(?:[\w-]+\.)*(?!google\.))(google|pinterest|amazon|ebay)"
    r"\.(?:com|[a-z]{2}|com?\.[a-z]{2})"
)


@lru_cache(maxsize=REMEMBERED_MAX)
def channel_of(host: str | None, medium: str) -> str:
    """The channel of a hit on a link with this medium, whose referrer has this host (in lower case, or none)."""
    medium = medium.strip().lower()
    if _PAID.fullmatch(medium):
        return "paid"
    if host:
        return _of_host(host)
    return _OF_MEDIUM.get(medium, "direct")


def _of_host(host: str) -> str:
    rest = host
    while rest:
        if rest in _OF_HOST:
            return _OF_HOST[rest]
        rest = rest.partition(".")[2]
    if national := _NATIONAL_SITE.fullmatch(host):
        return _NATIONAL[national[2]]
    # Whoever runs their own: webmail.example.org.
    return "mail" if host.startswith(("webmail.", "mail.")) else "referral"
