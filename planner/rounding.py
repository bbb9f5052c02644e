"""Figures as they are written to files."""

DIGITS = 6


def significant(value: float) -> float:
    """``value`` rounded to DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}")
