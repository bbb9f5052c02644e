"""A picture of the cost/time frontier with the baselines on it: SVG, both axes logarithmic."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 460
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 44, 52
_LINE_HEIGHT = 13


@dataclass(frozen=True)
class Mark:
    """One way to train: seconds and USD of the whole run, and what to call it ("" for a point of the frontier)."""

    seconds: float
    usd: float
    label: str = ""


@dataclass(frozen=True)
class _Axis:
    """A logarithmic one, from ``low`` at pixel ``begin`` to ``high`` at ``end``."""

    low: float
    high: float
    begin: float
    end: float

    def at(self, value: float) -> float:
        return self.begin + (self.end - self.begin) * (log10(value / self.low) / log10(self.high / self.low))

    def ticks(self) -> list[float]:
        """Round numbers, the fewer per power of ten the more powers there are."""
        ratio = self.high / self.low
        digits: Sequence[int] = (1,) if ratio > 300 else (1, 2, 5) if ratio > 8 else range(1, 10)
        exponents = range(floor(log10(self.low)), floor(log10(self.high)) + 1)
        values = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
        return [value for value in values if self.low <= value <= self.high]


def _axis(values: Sequence[float], begin: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    room = max(high / low, 10.0) ** 0.08  # so that no mark lies on the frame
    middle = (low * high) ** 0.5
    return _Axis(min(low / room, middle / 2), max(high * room, middle * 2), begin, end)


def _spread(labels: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """(x, y, text) moved towards the middle's height where they would lie on one another."""
    placed: list[tuple[float, float, str]] = []
    for x, y, text in sorted(labels, key=lambda label: -abs(label[1] - HEIGHT / 2)):
        step = _LINE_HEIGHT if y < HEIGHT / 2 else -_LINE_HEIGHT
        while any(abs(other[0] - x) < 130 and abs(other[1] - y) < _LINE_HEIGHT for other in placed):
            y += step
        placed.append((x, y, text))
    return placed


def frontier_svg(title: str, frontier: Sequence[Mark], others: Sequence[Mark]) -> str:
    """The picture as text; ``frontier`` from fast to cheap, all figures positive."""
    marks = [*frontier, *others]
    across = _axis([mark.seconds for mark in marks], LEFT, WIDTH - RIGHT)
    up = _axis([mark.usd for mark in marks], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for value in across.ticks():
        x = across.at(value)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    for value in up.ticks():
        y = up.at(value)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    frame = f'x="{LEFT}" y="{TOP}" width="{WIDTH - RIGHT - LEFT}" height="{HEIGHT - BOTTOM - TOP}"'
    parts.append(f'<rect {frame} fill="none" stroke="#888"/>')
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="{middle_x}" y="{HEIGHT - 12}" text-anchor="middle">seconds of the run</text>')
    turned = f'transform="rotate(-90 18 {middle_y})"'
    parts.append(f'<text x="18" y="{middle_y}" text-anchor="middle" {turned}>USD of the run</text>')
    points = [(across.at(mark.seconds), up.at(mark.usd)) for mark in frontier]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#0b62a4" stroke-width="1.5"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#0b62a4"/>' for x, y in points]
    labels = [(points[0][0] + 8, points[0][1] - 6, "frontier")] if points else []
    for mark in others:
        x, y = across.at(mark.seconds), up.at(mark.usd)
        parts.append(f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="#c1440e"/>')
        labels.append((x + 8, y + 4, mark.label))
    parts += [f'<text x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>' for x, y, text in _spread(labels)]
    return "\n".join([*parts, "</svg>"]) + "\n"
