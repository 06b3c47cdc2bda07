"""What agents and hosts are called in words that people know; literal tables, the first that fits wins."""

from __future__ import annotations

from functools import lru_cache

from tracker.channels import REWRITERS

HOSTS_REMEMBERED_MAX = 10_000

# A part of a bot's user agent, and its name. Only bots are looked up here: people's in-app browsers name some of these,
# too. Messages on Apple's devices poses as three others at once, so it comes first, as do those who borrow Meta's.
BOTS = (
    ("facebookexternalhit/1.1 Facebot Twitterbot/1.0", "iMessage preview"),
    ("line-poker", "LINE preview"),
    ("kakaotalk-scrap", "KakaoTalk preview"),
    ("Slackbot", "Slack preview"),
    ("Slack-ImgProxy", "Slack preview"),
    ("WhatsApp/", "WhatsApp preview"),
    ("meta-externalagent", "Meta crawler"),
    ("meta-externalfetcher", "Meta crawler"),
    ("facebookexternalhit", "Facebook preview"),
    ("Facebot", "Facebook preview"),
    ("LinkedInBot", "LinkedIn preview"),
    ("Discordbot", "Discord preview"),
    ("TelegramBot", "Telegram preview"),
    ("Bluesky Cardyb", "Bluesky preview"),
    ("Twitterbot", "X preview"),
    ("SkypeUriPreview", "Skype preview"),
    ("MicrosoftPreview", "Microsoft preview"),
    ("BingPreview", "Bing preview"),
    ("GoogleMessages", "Google Messages preview"),
    ("Snap URL Preview", "Snapchat preview"),
    ("SteamChatURLLookup", "Steam preview"),
    ("Mastodon/", "Mastodon preview"),
    ("Synapse (", "Matrix preview"),
    ("Pinterestbot", "Pinterest"),
    ("redditbot", "Reddit preview"),
    ("vkShare", "VK preview"),
    ("Barracuda", "Barracuda"),
    ("Mimecast", "Mimecast"),
    ("CiscoSecureEmail", "Cisco Secure Email"),
    ("GoogleImageProxy", "Gmail image proxy"),
    ("YahooMailProxy", "Yahoo image proxy"),
)

_REWRITERS = dict(REWRITERS)


def known_bot(agent: str) -> str | None:
    """The name of a bot that we have one for."""
    return next((name for part, name in BOTS if part in agent), None)


@lru_cache(maxsize=HOSTS_REMEMBERED_MAX)
def rewriter(host: str) -> str | None:
    """The mail gateway that a referrer's host belongs to, itself or any host under it."""
    while host:
        if host in _REWRITERS:
            return _REWRITERS[host]
        host = host.partition(".")[2]
    return None
