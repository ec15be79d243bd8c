"""HTML as values: what is text is escaped, what is an element is not.

The page is also well-formed XML, so that any reader can check it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Attribute: TypeAlias = str | int | float | None
VOID = frozenset({"br", "img", "meta", "link", "hr", "input"})


def text(value: object) -> Html:
    """
    >>> text("a < b"), text(Html("<b>"))
    ('a &lt; b', '<b>')
    """
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def tag(name: str, /, *children: object, **attributes: Attribute) -> Html:
    """An element; an underscore at an attribute's end is dropped, others become hyphens, and what
    is None is left out, child or attribute.

    >>> tag("p", "1 < 2", tag("br"), class_="note", data_n=3, id=None)
    '<p class="note" data-n="3">1 &lt; 2<br/></p>'
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{told}/>")
    return Html(f"<{name}{told}>{joined(children)}</{name}>")


def joined(children: Iterable[object], between: str = "") -> Html:
    return Html(between.join(text(each) for each in children if each is not None))
