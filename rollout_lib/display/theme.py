"""The one look of a chart: an altair theme, our colours, and SVG that shows offline, in light and
in dark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

import altair as alt

from rollout_lib.display import drawer
from rollout_lib.display.page import framed

UNIFIED_COLOUR, LEGACY_COLOUR, LIMIT_COLOUR, MISSING_COLOUR = (
    "#0072B2",
    "#8A8F98",
    "#C8323C",
    "#B84F00",
)
_PARTS = re.compile(r' (?:role="graphics-[a-z]+"|aria-roledescription="[^"]*")')
INK = "currentColor"  # the page's own, so that a chart is readable in both themes and on paper
WIDTH, HEIGHT, MARGIN = 540, 220, 112  # the margin at the right holds the words of the lines
_SOFT: Any = {
    "labelColor": INK,
    "titleColor": INK,
    "labelOpacity": 0.75,
    "titleOpacity": 0.75,
}


@alt.theme.register("rollout", enable=True)
def theme() -> alt.theme.ThemeConfig:
    """No frame, hairline grid, normal weights, text in the page's ink, no repeated descriptions."""
    return {
        "config": {
            "background": "transparent",
            "font": "system-ui, sans-serif",
            "aria": False,
            "padding": {"left": 4, "top": 6, "right": 4, "bottom": 4},
            "view": {"stroke": None},
            "axis": _SOFT
            | {
                "titleFontWeight": "normal",
                "labelFontSize": 11,
                "titleFontSize": 11,
                "gridColor": INK,
                "gridOpacity": 0.12,
                "domainColor": INK,
                "domainOpacity": 0.4,
                "tickColor": INK,
                "tickOpacity": 0.4,
                "tickSize": 4,
                "labelPadding": 4,
            },
            "axisY": {"domain": False, "ticks": False, "titlePadding": 8},
            "legend": _SOFT
            | {
                "orient": "top",
                "title": None,
                "labelFontSize": 11,
                "symbolSize": 80,
            },
            "title": {
                "color": INK,
                "fontSize": 12,
                "fontWeight": 600,
                "anchor": "start",
                "offset": 6,
            },
            "text": {"color": INK, "fontSize": 11},
        }
    }


class Picture:
    """A chart with its finding: SVG in a notebook and in its twin, the finding
    alone in a terminal.
    """

    def __init__(self, svg: str, finding: str) -> None:
        self.svg, self.finding = _named(svg, finding), finding

    def _repr_html_(self) -> str:
        return framed(f'<div class="ro-caption">{escape(self.finding)}</div>{self.svg}')

    def __repr__(self) -> str:
        return self.finding


def _named(svg: str, finding: str) -> str:
    """The drawing as one image whose name is the finding: its parts are no images by themselves."""
    bare = _PARTS.sub("", svg)
    return bare.replace("<svg ", f'<svg role="img" aria-label="{escape(finding)}" ', 1)


def enable() -> None:
    """Altair's own charts, where somebody makes one by hand, are SVG in this theme too."""
    alt.renderers.enable("svg")
    alt.theme.enable("rollout")


def svg(chart: alt.TopLevelMixin, margin: int = MARGIN) -> str:
    """The chart as SVG; `margin` is kept free at the right for the words of its lines."""
    return _drawn(
        chart.to_dict(validate=False), margin
    )  # its parts were validated as they were made, in the tests


def layered_svg(layers: Sequence[alt.Chart], height: int) -> str:
    """Layers in one frame as SVG. As alt.layer, which copies every part of every
    layer three times.
    """
    context: dict[str, Any] = {"top_level": False, "datasets": {}}
    parts = [layer.to_dict(validate=False, context=context) for layer in layers]
    spec = {"$schema": alt.SCHEMA_URL, **theme(), "datasets": context["datasets"], "layer": parts}
    return _drawn({**spec, "width": WIDTH, "height": height}, MARGIN)


def _drawn(spec: dict[str, Any], margin: int) -> str:
    return drawer.svg(spec | {"padding": {"left": 4, "top": 6, "right": margin, "bottom": 4}})
