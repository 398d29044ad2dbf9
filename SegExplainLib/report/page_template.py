"""HTML from the templates of this folder, with pictures inside it."""

import base64
from importlib.resources import files
from typing import Any

import jinja2

from SegExplainLib.report.maps import Picture


def rendered(template: str, **values: Any) -> str:
    """The text of a template of this folder; every value is escaped, as names come from outside.

    Raises:
        jinja2.UndefinedError: the template asks for a value that was not given.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    text = files("SegExplainLib.report").joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)


def embedded(picture: Picture) -> dict[str, Any]:
    """What a template needs to show a picture: ``src`` with the file itself, ``alt``, ``caption``, ``width``."""
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    return {
        "src": f"data:image/png;base64,{data}",
        "alt": picture.alt,
        "caption": picture.caption,
        "width": picture.css_width,
    }
