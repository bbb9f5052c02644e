"""What a bench answers: figures, the goals for them, and the machine they were measured on."""

import math
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Goal:
    """What a figure should be: at most ``most``, at least ``least``, or within both."""

    most: float = math.inf
    least: float = 0.0

    @property
    def limit(self) -> float:
        """The one number of a goal, for those who want just one."""
        return self.least if self.most == math.inf else self.most

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"at least {self.least:g}"
        return f"{self.least:g} to {self.most:g}" if self.least else f"at most {self.most:g}"

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
        """Whether there are goals and all are met."""
        return bool(self.goals) and all(goal.met_by(self.figures[name]) for name, goal in self.goals.items())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``goals`` holds the upper limit of a figure, or the lower one of a figure that has no other, and
        ``least`` all lower ones."""
        return {
            "bench": self.bench,
            "figures": self.figures,
            "goals": {name: goal.limit for name, goal in self.goals.items()},
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
                text += f"   goal: {goal}{'' if goal.met_by(figure) else '   NOT MET'}"
            lines.append(text)
        if not self.goals:
            return [*lines, "no goals hold for these settings"]
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
