"""A timeline as a picture: a grid of characters, or SVG. Predicted and measured ones alike.

stage 0   F0 F1 F2 .  .  B0 F3 B1 ...        one row per worker, one cell per unit of time
"""

from collections import defaultdict
from collections.abc import Sequence
from xml.sax.saxutils import escape

from runtime.records import TimelineEvent
from runtime.schedule import Lane

_Worker = tuple[int, int]

IDLE = "."
MORE = "…"

# Okabe and Ito's colours, which people with any colour vision can tell apart.
COLOURS = {"F": "#56b4e9", "B": "#e69f00", "R": "#009e73", "U": "#555555"}
TRANSFER_COLOURS = {"L": "#bbbbbb", "RF": "#56b4e9", "SF": "#56b4e9", "RB": "#e69f00", "SB": "#e69f00", "R": "#009e73"}
LEGEND = {"F": "forward", "B": "backward", "R": "average over replicas", "U": "optimiser step"}


def _kind(instruction: str) -> str:
    return instruction.rstrip("0123456789")


def worker_names(events: Sequence[TimelineEvent]) -> dict[_Worker, str]:
    """By (stage, replica), in order: "stage 0", or "stage 0.1" where the stage has replicas."""
    workers = sorted({(event.stage, event.replica) for event in events})
    replicas: dict[int, int] = defaultdict(int)
    for stage, _ in workers:
        replicas[stage] += 1
    return {(s, r): f"stage {s}.{r}" if replicas[s] > 1 else f"stage {s}" for s, r in workers}


def grid(events: Sequence[TimelineEvent], *, cell_s: float, width: int, rows: int) -> str:
    """The compute lanes, each cell showing what goes on at its middle. What does not fit is cut off with "…".

    Args:
        cell_s: time of one cell. Where every instruction takes one cell or more, cells hold its name, else its kind.
        width: columns of text.
        rows: workers shown at most.
    """
    computing = [event for event in events if event.lane is Lane.COMPUTE and event.end_s > event.start_s]
    names = worker_names(events)
    whole = all(event.end_s - event.start_s >= 0.999 * cell_s for event in computing)
    label = max(map(len, names.values())) + 3
    cell = 1 + max(len(event.instruction) for event in computing) if whole else 1
    cells = max(1, round(max(event.end_s for event in computing) / cell_s))
    shown = cells if label + cells * cell - (cell > 1) <= width else max(1, (width - label - len(MORE)) // cell)
    by_worker: dict[_Worker, list[TimelineEvent]] = defaultdict(list)
    for event in computing:
        by_worker[event.stage, event.replica].append(event)
    lines = []
    for worker, name in list(names.items())[:rows]:
        row = [IDLE] * shown
        for event in by_worker[worker]:
            first, end = (round(edge / cell_s) for edge in (event.start_s, event.end_s))
            for at in range(first, min(max(end, first + 1), shown)):  # what is shorter than a cell takes one, too
                row[at] = event.instruction if whole else _kind(event.instruction)
        text = "".join(part.ljust(cell) for part in row)
        lines.append((name.ljust(label) + text + (MORE if shown < cells else "")).rstrip())
    if len(names) > rows:
        lines.append(f"{MORE} and {len(names) - rows} more workers")
    return "\n".join(lines)


_MARGIN, _LABEL, _PLOT = 16, 84, 1100
_ROW, _COMPUTE, _STRIP = 34, 16, 5
_HEAD, _FOOT = 58, 40


def svg(events: Sequence[TimelineEvent], *, title: str, unit: str) -> str:
    """All lanes of all workers: compute in the middle of a row, downloads as a strip above it, uploads below.

    Of a download, the part in which its object was awaited is left out.

    Args:
        unit: of the events' times, for the axis.
    """
    names = worker_names(events)
    end_s = max(event.end_s for event in events)
    scale = _PLOT / end_s
    left = _MARGIN + _LABEL
    height = _HEAD + _ROW * len(names) + _FOOT
    rows = {worker: _HEAD + _ROW * number for number, worker in enumerate(names)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + _PLOT + _MARGIN} {height}" '
        f'width="{left + _PLOT + _MARGIN}" height="{height}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_MARGIN}" y="24" font-size="15">{escape(title)}</text>',
        *_legend(any(event.lane is not Lane.COMPUTE for event in events)),
    ]
    for worker, name in names.items():
        y = rows[worker]
        parts.append(f'<text x="{_MARGIN}" y="{y + _STRIP + 14}">{name}</text>')
        parts.append(f'<rect x="{left}" y="{y + _STRIP + 1}" width="{_PLOT}" height="{_COMPUTE}" fill="#f2f2f2"/>')
    for event in events:
        parts += _bar(event, rows[event.stage, event.replica], left, scale)
    parts += _axis(end_s, unit, left, scale, height - _FOOT + 4)
    return "\n".join([*parts, "</svg>", ""])


def _bar(event: TimelineEvent, y: float, left: float, scale: float) -> list[str]:
    begin_s = event.start_s + event.waited_s if event.lane is Lane.DOWNLOAD else event.start_s
    width = (event.end_s - begin_s) * scale
    if width <= 0:
        return []
    x, kind = left + begin_s * scale, _kind(event.instruction)
    top = y + {Lane.DOWNLOAD: 0, Lane.COMPUTE: _STRIP + 1, Lane.UPLOAD: _STRIP + _COMPUTE + 2}[event.lane]
    computes = event.lane is Lane.COMPUTE
    tall, colour = (_COMPUTE, COLOURS[kind]) if computes else (_STRIP, TRANSFER_COLOURS[kind])
    note = f"{event.instruction}: {begin_s:.4g} to {event.end_s:.4g}"
    bar = (
        f'<rect x="{x:.2f}" y="{top}" width="{width:.2f}" height="{tall}" fill="{colour}" stroke="white" '
        f'stroke-width="{0.5 if width > 2 else 0}"><title>{note}</title></rect>'
    )
    label = event.instruction.removeprefix(kind) or kind
    if not computes or width < 7 * len(label):
        return [bar]
    ink = "white" if kind in ("R", "U") else "black"
    middle = f'x="{x + width / 2:.2f}" y="{top + 12}"'
    return [bar, f'<text {middle} text-anchor="middle" font-size="10" fill="{ink}">{label}</text>']


def _legend(with_transfers: bool) -> list[str]:
    parts, x = [], float(_MARGIN)
    for kind, meaning in LEGEND.items():
        parts.append(f'<rect x="{x}" y="34" width="12" height="12" fill="{COLOURS[kind]}"/>')
        parts.append(f'<text x="{x + 16}" y="44">{kind}: {meaning}</text>')
        x += 34 + 6.5 * len(f"{kind}: {meaning}")
    if with_transfers:
        parts.append(f'<text x="{x}" y="44">strip above: download; below: upload; numbers are micro-batches</text>')
    return parts


def _axis(end_s: float, unit: str, left: float, scale: float, y: float) -> list[str]:
    step = _step(end_s / 10)
    parts = [f'<line x1="{left}" y1="{y}" x2="{left + _PLOT}" y2="{y}" stroke="#888"/>']
    for number in range(int(end_s / step + 1e-9) + 1):
        x = left + number * step * scale
        parts.append(f'<line x1="{x:.2f}" y1="{y}" x2="{x:.2f}" y2="{y + 4}" stroke="#888"/>')
        parts.append(f'<text x="{x:.2f}" y="{y + 16}" text-anchor="middle">{number * step:.4g}</text>')
    parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(unit)}</text>')
    return parts


def _step(least: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is not below ``least``."""
    power = 10.0**-12
    while 5 * power < least:
        power *= 10
    return next(power * factor for factor in (1, 2, 5) if power * factor >= least)
