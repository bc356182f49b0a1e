"""Writing of SVG elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from xml.sax.saxutils import escape, quoteattr

from .model import Theme
from .style import PALETTE, SMALL_SIZE, STRUCK
from .text import num


class Canvas:
    """Writes SVG elements. Coordinates are pixels, colours are names of the palette."""

    def __init__(self, theme: Theme) -> None:
        self._shade = 1 if theme == "dark" else 0
        self.parts: list[str] = []

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Give everything that is drawn within the tooltip ``title``."""
        self.parts.append(f"<g><title>{escape(title)}</title>")
        yield
        self.parts.append("</g>")

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        stroke: str | None = None,
        **attributes: float | str | None,
    ) -> None:
        """Draw a rectangle."""
        box = {"x": x, "y": y, "width": width, "height": height, **attributes}
        self._element("rect", box, fill, stroke)

    def path(
        self,
        data: str,
        *,
        fill: str | None = None,
        stroke: str | None = None,
        title: str = "",
        **attributes: float | str | None,
    ) -> None:
        """Draw a path in SVG path syntax if it has commands; ``title`` is its tooltip."""
        if data:
            self._element("path", {"d": data, **attributes}, fill, stroke, title)

    def text(
        self,
        x: float,
        y: float,
        text: str | Sequence[tuple[str, str]],
        size: float = SMALL_SIZE,
        fill: str = "ink",
        *,
        anchor: str | None = None,
        bold: bool = False,
        title: str = "",
    ) -> None:
        """Write text with its baseline at ``y``: one string, or runs of ``(text, colour)``."""
        runs = [(text, fill)] if isinstance(text, str) else text
        content = "".join(
            escape(run)
            if colour == fill
            else f"<tspan{self._paint(colour, None)}{_struck(colour)}>{escape(run)}</tspan>"
            for run, colour in runs
        )
        attributes: dict[str, float | str | None] = {
            "x": x,
            "y": y,
            "font-size": size if size != SMALL_SIZE else None,
            "text-anchor": anchor,
            "font-weight": "600" if bold else None,
        }
        # Ink and the small size are what the root element hands down.
        self._element("text", attributes, fill if fill != "ink" else None, None, title, content)

    def _element(
        self,
        tag: str,
        attributes: Mapping[str, float | str | None],
        fill: str | None,
        stroke: str | None,
        title: str = "",
        content: str = "",
    ) -> None:
        written = self._paint(fill, stroke) + "".join(
            f" {name.replace('_', '-')}={quoteattr(v if isinstance(v, str) else num(v))}"
            for name, v in attributes.items()
            if v is not None
        )
        if title:
            content = f"<title>{escape(title)}</title>{content}"
        self.parts.append(f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>")

    def _paint(self, fill: str | None, stroke: str | None) -> str:
        """Return class names for style sheets, and plain colours for renderers that take none."""
        paints = [(kind, name) for kind, name in (("fill", fill), ("stroke", stroke)) if name]
        classes = " ".join(f"gsg-{kind[0]}-{name}" for kind, name in paints)
        colours = "".join(f' {kind}="{self._colour(name)}"' for kind, name in paints)
        unfilled = ' fill="none"' if stroke and not fill else ""
        return f' class="{classes}"{colours}{unfilled}' if paints else ""

    def _colour(self, name: str) -> str:
        return PALETTE[name][self._shade]


def _struck(colour: str) -> str:
    return ' text-decoration="line-through"' if colour in STRUCK else ""


def box_path(left: float, right: float, top: float, bottom: float) -> str:
    return f"M{num(left)} {num(top)}H{num(right)}V{num(bottom)}H{num(left)}z"


def dimension_path(x0: float, x1: float, y: float) -> str:
    """Return a line with a bar at both ends, and arrow heads where there is room for them."""
    path = f"M{num(x0)} {num(y - 4)}v8M{num(x1)} {num(y - 4)}v8M{num(x0)} {num(y)}H{num(x1)}"
    if x1 - x0 >= 12:
        path += f"M{num(x0 + 4)} {num(y - 3)}l-4 3l4 3M{num(x1 - 4)} {num(y - 3)}l4 3l-4 3"
    return path
