"""What a bench answers: figures, the goals for them, and the machine they were measured on."""

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at most ``most`` and, where ``least`` is given, not below that."""

    most: float
    least: float = 0.0

    def met_by(self, figure: float) -> bool:
        return self.least <= figure <= self.most


@dataclass(frozen=True)
class Report:
    """One run of one bench."""

    bench: str
    figures: dict[str, float]
    goals: dict[str, Goal]
    settings: dict[str, Any]

    @property
    def met(self) -> bool:
        return all(goal.met_by(self.figures[name]) for name, goal in self.goals.items())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``goals`` holds the upper limits, ``least`` the lower ones where there are any."""
        return {
            "bench": self.bench,
            "figures": self.figures,
            "goals": {name: goal.most for name, goal in self.goals.items()},
            "least": {name: goal.least for name, goal in self.goals.items() if goal.least},
            "met": self.met,
            "settings": self.settings,
            "machine": machine(),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        width = max(map(len, self.figures))
        lines = [f"{self.bench}: " + ", ".join(f"{name} {value}" for name, value in self.settings.items())]
        for name, figure in self.figures.items():
            text = f"  {name:<{width}}  {figure:8.3f}"
            if (goal := self.goals.get(name)) is not None:
                low = f"{goal.least:g} to " if goal.least else "at most "
                text += f"   goal: {low}{goal.most:g}{'' if goal.met_by(figure) else '   NOT MET'}"
            lines.append(text)
        return [*lines, "all goals met" if self.met else "goals not met"]


def machine() -> dict[str, Any]:
    """Where this runs."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "load_average_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
