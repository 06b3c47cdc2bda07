"""The pages: server-rendered, one file per area; all under /app but for those on privacy and shared reports."""

from __future__ import annotations

from flask import Flask

from tracker.web import (
    account,
    audiences,
    callers,
    campaigns,
    changelog,
    checker,
    conversions,
    costimports,
    costs,
    dashboard,
    debugger,
    events,
    exchange,
    exports,
    filters,
    formats,
    identities,
    imports,
    install,
    kept,
    leftout,
    links,
    planner,
    privacy,
    responses,
    settings,
    shared,
    sharing,
    urls,
    variants,
    windows,
)

AREAS = (
    account.pages,
    dashboard.pages,
    campaigns.pages,
    links.pages,
    conversions.pages,
    imports.pages,
    debugger.pages,
    audiences.pages,
    events.pages,
    leftout.pages,
    install.pages,
    settings.pages,
    filters.pages,
    checker.pages,
    identities.pages,
    callers.pages,
    windows.pages,
    costs.pages,
    costimports.pages,
    exchange.pages,
    changelog.pages,
    sharing.pages,
    exports.pages,
    variants.pages,
    planner.pages,
)


def register(app: Flask) -> None:
    """Adds the pages, what their templates call, their error pages and their headers."""
    formats.register(app)
    responses.register(app)
    kept.register(app)
    urls.register(app)
    for area in AREAS:
        app.register_blueprint(area, url_prefix="/app")
    app.register_blueprint(privacy.pages)
    app.register_blueprint(shared.pages)
