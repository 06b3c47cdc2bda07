"""The settings as a module (`gunicorn -c python:tracker.gunicorn_conf`): what an installed wheel starts with."""

from __future__ import annotations

from tracker.config import Settings
from tracker.server import gunicorn_settings

globals().update(gunicorn_settings(Settings.from_env()))
