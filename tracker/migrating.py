"""For developers: `flask --app tracker.migrating db migrate -m "what changed"` writes a revision.

Apart from the application itself, so that no server spends a fifth of a second on loading what writes migrations.
"""

from __future__ import annotations

from flask_migrate import Migrate

from tracker.app import create_app
from tracker.extensions import db
from tracker.schema import MIGRATIONS

app = create_app()
migrate = Migrate(app, db, directory=str(MIGRATIONS), compare_type=True, render_as_batch=True)
