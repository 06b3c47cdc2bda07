"""gunicorn reads this by itself when it is started here; the settings are the package's own."""

from tracker.config import Settings
from tracker.server import gunicorn_settings

globals().update(gunicorn_settings(Settings.from_env()))
