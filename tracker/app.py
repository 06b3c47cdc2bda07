"""Puts the application together: Flask with its extensions, the edge before it, and the two ways to serve both."""

from __future__ import annotations

from functools import cache
from typing import Any

from a2wsgi import WSGIMiddleware
from flask import Flask, Response, abort, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from tracker import api, web
from tracker.config import Settings
from tracker.countries import open_countries
from tracker.edge.accesslog import AccessLog
from tracker.edge.app import Application as AsgiApplication
from tracker.edge.app import AsgiEdge, LoggedEdge
from tracker.edge.core import Edge
from tracker.edge.decide import Pages, raw_query
from tracker.edge.linkcache import LinkCache
from tracker.edge.spool import Spool
from tracker.edge.wsgi import Environ, StartResponse, WsgiEdge
from tracker.extensions import csrf, db, engine_options, login, open_engine
from tracker.fetching import Fetcher
from tracker.resources import resource_dir
from tracker.services import Services
from tracker.stores import open_store

REQUEST_MAX_BYTES = 4 * 1024 * 1024
PAGE_THREADS = 10


def create_app(settings: Settings | None = None) -> Flask:
    """The Flask application, with the edge in front: any WSGI server, and the test client, get the whole product."""
    app, edge = _create(settings or Settings.from_env())
    app.wsgi_app = WsgiEdge(edge, app.wsgi_app)  # type: ignore[method-assign]
    return app


def create_asgi(settings: Settings | None = None) -> AsgiApplication:
    """The ASGI application that gunicorn serves: the edge on the event loop, Flask on threads behind it."""
    settings = settings or Settings.from_env()
    app, edge = _create(settings)
    flask: Any = app.wsgi_app
    behind: Any = WSGIMiddleware(flask, workers=PAGE_THREADS)
    if settings.access_log is not None:
        return LoggedEdge(edge, _ascii_query(behind), AccessLog(settings.access_log))
    return AsgiEdge(edge, _ascii_query(behind))


def _create(settings: Settings) -> tuple[Flask, Edge]:
    app = Flask("tracker", template_folder=str(resource_dir("templates")), static_folder=str(resource_dir("static")))
    app.config.update(
        SECRET_KEY=settings.secrets.session_key,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings.database_url),
        MAX_CONTENT_LENGTH=REQUEST_MAX_BYTES,
        SESSION_COOKIE_NAME="tracker_session",
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=(settings.base_url or "").startswith("https:"),
        REMEMBER_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
    )
    db.init_app(app)
    csrf.init_app(app)
    login.init_app(app)
    engine = open_engine(settings.database_url)
    spool = Spool(
        settings.spool_dir,
        durable=settings.durability == "disk",
        segment_bytes=settings.spool_segment_bytes,
        bytes_max=settings.spool_bytes_max,
    )
    countries = open_countries(settings.geo_db, settings.data_dir)
    fetcher = Fetcher(settings.checker_allow)
    app.extensions["tracker"] = Services(settings, open_store(engine), spool, countries, fetcher)
    api.register(app)
    web.register(app)
    app.register_error_handler(HTTPException, _on_http_error)
    app.before_request(_refuse_nul)
    app.after_request(_keep_out_of_search)
    app.wsgi_app = _Inside(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    edge = Edge(
        LinkCache(engine, settings.click_id_param),
        spool,
        settings.secrets.click_key,
        _pages(),
        customer_key=settings.secrets.customer_key,
        trusted_proxies=settings.trusted_proxies,
        countries=countries,
    )
    app.extensions["tracker_edge"] = edge
    return app, edge


def _on_http_error(error: HTTPException) -> ResponseReturnValue:
    """To whom an error is told: a program, a person at a page, or whoever followed an address that is neither."""
    if api.is_api():
        return api.of_http_error(error)
    if web.responses.is_page():
        return web.responses.of_http_error(error)
    return (_pages().not_found, 404) if error.code == 404 else error.get_response()


def _refuse_nul() -> None:
    """PostgreSQL refuses a NUL even in a question, so nothing is called so. A callback is kept, whatever its key."""
    if "\0" in request.path and not request.path.startswith("/c/"):
        abort(404)


def _keep_out_of_search(response: Response) -> Response:
    """Nothing here belongs into a search engine."""
    response.headers.setdefault("X-Robots-Tag", "noindex, nofollow")
    return response


@cache
def _pages() -> Pages:
    folder = resource_dir("static")
    return Pages((folder / "not-found.html").read_bytes(), (folder / "gone.html").read_bytes())


class _Inside:
    """What Flask needs to know of the server before it: whose proxies to believe, and that a chunked body ends."""

    def __init__(self, app: Any, proxies: int) -> None:
        self._app = ProxyFix(app, x_for=proxies, x_proto=proxies, x_host=proxies) if proxies else app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Any:
        # Werkzeug reads a body without a length only where the server promises that reading it comes to an end; a2wsgi
        # does, and without this a callback sent in chunks would arrive empty.
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            environ["wsgi.input_terminated"] = True
        return self._app(environ, start_response)


def _ascii_query(behind: AsgiApplication) -> AsgiApplication:
    """a2wsgi reads a query as ASCII and fails on anything else: stray bytes are percent-encoded before it."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["query_string"].isascii():
            scope = {**scope, "query_string": raw_query(scope["query_string"]).encode("ascii")}
        await behind(scope, receive, send)

    return application
