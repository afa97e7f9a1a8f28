"""Draws the figures of a run as one SVG that reads in light and in dark. Knows figures by name; must not measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.cluster import SERVICES
from benchmarks.figures import MEGABYTES, MICROSECONDS, MILLISECONDS, SECONDS, Figure
from benchmarks.report import ENDPOINTS, number

PANELS = (
    ("udp", "hot names", MICROSECONDS, "UDP: 1,000 hot names"),
    ("udp", "all names", MICROSECONDS, "UDP: 10,000 names"),
    ("udp", "mix", MICROSECONDS, "UDP: mix with search-path misses"),
    ("tcp", "pipelined", MICROSECONDS, "TCP, pipelined"),
    ("rates", "1,000 q/s", MICROSECONDS, "At 1,000 queries a second"),
    ("rates", "10,000 q/s", MICROSECONDS, "At 10,000 queries a second"),
    ("forward", "cached", MICROSECONDS, "Forwarded, cached"),
    ("forward", "not cached", MICROSECONDS, "Forwarded, not cached"),
    ("start", "first answer", SECONDS, "Start to first answer"),
    ("start", "memory", MEGABYTES, "Memory"),
    ("freshness", "under 50,000 q/s, p99", MILLISECONDS, "Change to new answer, p99, loaded"),
    ("tail", "500 objects/s, p99.9", MILLISECONDS, "p99.9 while 500 objects/s change"),
)
"""Experiment, case, unit and title of each panel, in reading order; what was not measured is left out."""

UNITS = {
    MICROSECONDS: "µs CPU a query",
    SECONDS: "s",
    MEGABYTES: "MB",
    MILLISECONDS: "ms",
}

_COLUMNS = 2
_PANEL_WIDTH = 420
_MARGIN = 20
_LABEL_WIDTH = 84
_VALUE_WIDTH = 56
_BAR = 14
_ROW = 22
_TITLE = 34
_HEAD = 58
_GAP = 18

_LEGEND = "Medians of one run; shorter is better; each panel has its own scale. Bare loop: C that only echoes packets."

_STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.head { font-size: 17px; font-weight: 600; }
.title { font-weight: 600; }
.faint { fill: #59636e; font-size: 12px; }
.page { fill: #ffffff; }
.bar { fill: #9aa4b0; }
.own { fill: #0f7b6c; }
text.own { fill: #0f7b6c; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .faint { fill: #9198a1; }
  .page { fill: #0d1117; }
  .bar { fill: #59636e; }
  .own, text.own { fill: #3fc9b0; }
}"""


@dataclass(frozen=True, slots=True)
class Panel:
    """The bars of one thing measured."""

    title: str
    unit: str
    figures: tuple[Figure, ...]

    @property
    def height(self) -> int:
        """Its height in pixels."""
        return _TITLE + _ROW * len(self.figures) + _GAP


def draw(figures: Sequence[Figure]) -> str:
    """The SVG; each panel has its own scale, that starts at 0."""
    panels = _panels(figures)
    rows = [panels[place : place + _COLUMNS] for place in range(0, len(panels), _COLUMNS)]
    parts, top = [], _HEAD
    for row in rows:
        parts += [_panel(panel, _MARGIN + column * (_PANEL_WIDTH + _MARGIN), top) for column, panel in enumerate(row)]
        top += max(panel.height for panel in row)
    width = _MARGIN + _COLUMNS * (_PANEL_WIDTH + _MARGIN)
    return "\n".join(
        [
            _open(width, top),
            "<title>dnsd beside other DNS servers: shorter is better</title>",
            f"<desc>{escape(_in_words(panels))}</desc>",
            f"<style>\n{_STYLE}\n</style>",
            f'<rect class="page" width="{width}" height="{top}" rx="8"/>',
            _text(_MARGIN, 28, f"{SERVICES:,} services, {ENDPOINTS:,} endpoints, one core", "head"),
            _text(_MARGIN, 48, _LEGEND, "faint"),
            *parts,
            "</svg>\n",
        ]
    )


def _open(width: int, height: int) -> str:
    size = f'width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {size} role="img">'


def _panels(figures: Sequence[Figure]) -> list[Panel]:
    made = []
    for experiment, case, unit, title in PANELS:
        wanted = [f for f in figures if (f.experiment, f.case, f.unit) == (experiment, case, unit)]
        if wanted:
            made.append(Panel(title, UNITS[unit], tuple(wanted)))
    return made


def _panel(panel: Panel, left: int, top: int) -> str:
    longest = max(figure.median for figure in panel.figures) or 1.0
    room = _PANEL_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH
    parts = [
        _text(left, top + 20, panel.title, "title"),
        _text(left + _PANEL_WIDTH, top + 20, panel.unit, "faint", "end"),
    ]
    for place, figure in enumerate(panel.figures):
        own = figure.server == "dnsd"
        y = top + _TITLE + place * _ROW
        length = max(1.0, figure.median / longest * room)
        parts.append(_text(left, y + 11, figure.server, "own" if own else ""))
        parts.append(
            f'<rect class="{"own" if own else "bar"}" x="{left + _LABEL_WIDTH}" y="{y}" width="{length:.1f}" '
            f'height="{_BAR}" rx="2"/>'
        )
        parts.append(_text(left + _LABEL_WIDTH + length + 6, y + 11, number(figure.median), "own" if own else ""))
    return "\n".join(parts)


def _text(x: float, y: float, content: str, kind: str = "", anchor: str = "") -> str:
    attributes = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:g}" y="{y:g}"{attributes}>{escape(content)}</text>'


def _in_words(panels: Sequence[Panel]) -> str:
    """The same figures for those who cannot see the bars."""
    return " ".join(
        f"{panel.title} ({panel.unit}): "
        + ", ".join(f"{figure.server} {number(figure.median)}" for figure in panel.figures)
        + "."
        for panel in panels
    )
