"""The charts: SVG that is the same for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

_OURS, _OTHER = "#0b5fa5", "#8a8a8a"


_STYLE = {"svg.hashsalt": "safepickle", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def _color(name: str) -> str:
    return _OURS if name.startswith("safepickle") else _OTHER


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None}, facecolor="white")
    plt.close(figure)
    # Some editors and git complain of the blanks that the backend leaves at the ends of lines.
    path.write_text("\n".join(line.rstrip() for line in path.read_text("utf-8").splitlines()) + "\n", encoding="utf-8")


def ratios(path: Path, figures: Mapping[str, Mapping[str, float]], title: str) -> None:
    """Draw a panel for each model: a line for each contender, as long as its ratio to pickle, on a log scale."""
    columns = min(3, len(figures))
    rows = -(-len(figures) // columns)
    names = list(dict.fromkeys(name for each in figures.values() for name in each))
    size = (1.6 + 2.9 * columns, 0.7 + 2.5 * rows)
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, sharex=True, sharey=True, squeeze=False, figsize=size, layout="constrained")
        for axis, (model, found) in zip(axes.flat, figures.items(), strict=False):
            axis.axvline(1, color="black", linewidth=0.8)
            for name, ratio in found.items():
                at, color = names.index(name), _color(name)
                axis.plot([1, ratio], [at, at], color=color, linewidth=2.5, solid_capstyle="butt")
                axis.plot([ratio], [at], "o", color=color, markersize=5)
                place = {"xytext": (7, 0), "ha": "left"} if ratio >= 1 else {"xytext": (-7, 0), "ha": "right"}
                axis.annotate(
                    f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}", (ratio, at), textcoords="offset points", va="center", fontsize=7, **place
                )
            axis.set(title=model, xscale="log", yticks=range(len(names)), yticklabels=names)
            axis.margins(x=0.2)
        for axis in list(axes.flat)[len(figures) :]:
            axis.set_visible(False)
        axes[0][0].invert_yaxis()
        figure.supxlabel(title)
        _save(figure, path)


def lines(path: Path, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], y_label: str) -> None:
    """Draw a log-log panel for each x label: a line of (x, y) points for each contender."""
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(panels), squeeze=False, figsize=(4.6 * len(panels), 3.6), layout="constrained")
        for axis, (x_label, found) in zip(axes[0], panels.items(), strict=True):
            for (name, points), marker in zip(found.items(), "os^vD", strict=False):
                axis.plot(*zip(*points, strict=True), marker=marker, color=_color(name), label=name, linewidth=1.5, markersize=5)
            axis.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
            axis.grid(visible=True, which="major", linewidth=0.4, color="#dddddd")
            axis.legend(frameon=False)
        _save(figure, path)
