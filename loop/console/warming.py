"""What the first visitor of a console would wait for, done beside its start.

Some modules are loaded when they are needed, and templates compiled when they are shown: together
some seconds on a busy machine. The process does so in a thread; who comes before that has
ended waits as without it. Knows no page.
"""

from __future__ import annotations

import importlib

import structlog
from litestar import Litestar
from litestar.plugins.jinja import JinjaTemplateEngine

# the policy's, for the overview; how far reviewers agree, for the page of review: both need numpy
LATE = ("loop.planning", "krippendorff")

_log = structlog.get_logger(__name__)


def warm(app: Litestar) -> None:
    """Load those modules, and compile all templates."""
    for name in LATE:
        importlib.import_module(name)
    engine = app.template_engine
    assert isinstance(engine, JinjaTemplateEngine)
    templates = engine.engine.list_templates()
    for name in templates:
        engine.get_template(name)
    _log.debug("console_warm", templates=len(templates))
