"""For any WSGI server: `wsgi:app` is the whole product. gunicorn gets the faster ASGI application from its settings."""

from __future__ import annotations

from tracker.app import create_app

app = create_app()
