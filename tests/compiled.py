"""What libraries compile for each application alone, made once for all that tests make: it is most of what one costs.

A server makes one application and compiles for it once; the tests make thousands, all alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache
from werkzeug.routing import Rule

STATEMENTS_MAX = 10_000


@contextmanager
def routes() -> Iterator[None]:
    """Werkzeug's parts of each route, and the four hundred functions that build addresses."""
    builders: dict[tuple[Any, ...], Any] = {}
    parsed: dict[str, tuple[Any, ...]] = {}
    compile_builder, parse_rule = Rule._compile_builder, Rule._parse_rule

    def builder(rule: Rule, append_unknown: bool = True) -> Any:
        key = rule.rule, rule.subdomain, repr(rule.defaults), append_unknown
        if key not in builders:
            builders[key] = compile_builder(rule, append_unknown)
        return builders[key]

    def parse(rule: Rule, text: str) -> Any:
        if text not in parsed:
            traced = len(rule._trace)
            parts = list(parse_rule(rule, text))
            parsed[text] = parts, rule._trace[traced:], dict(rule._converters), set(rule.arguments)
            return parts
        parts, trace, converters, arguments = parsed[text]
        rule._trace.extend(trace)
        rule._converters.update(converters)
        rule.arguments.update(arguments)
        return parts

    with patch.object(Rule, "_compile_builder", builder), patch.object(Rule, "_parse_rule", parse):
        yield


class _Templates(BytecodeCache):
    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


@contextmanager
def templates() -> Iterator[None]:
    """Jinja's code of each template: making a page's takes longer than filling it."""
    with patch.dict(Flask.jinja_options, {"bytecode_cache": _Templates()}):
        yield


@contextmanager
def statements() -> Iterator[None]:
    """SQLAlchemy's text of each statement. It keeps them by dialect, of which each engine has one of its own."""
    cache: LRUCache[Any, Any] = LRUCache(STATEMENTS_MAX)
    shared = property(lambda _: cache, lambda _, __: None)

    def equal(one: DefaultDialect, other: object) -> bool:
        return type(one) is type(other)

    with (
        patch.object(Engine, "_compiled_cache", shared, create=True),
        patch.object(DefaultDialect, "__eq__", equal),
        patch.object(DefaultDialect, "__hash__", lambda dialect: hash(type(dialect))),
    ):
        yield
