#!/usr/bin/python3
"""Draws a dashboard of a running Prometheus as a picture, without Grafana: to look
at what a changed source makes of real numbers. Debian: python3-matplotlib.

    deploy/grafana/picture.py http://127.0.0.1:9090 deploy/grafana/overview.json overview.png --minutes 30 upstream=m365
"""
import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

UNIT = 0.28  # inches of a row of Grafana's grid
COLORS = {"green": "#56a64b", "orange": "#ff9830", "red": "#e02f44", "blue": "#3274d9", "yellow": "#f2cc0c"}


def ask(base, path, **query):
    with urllib.request.urlopen(f"{base}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)["data"]["result"]


def shown(value, unit):
    """A number as a person reads it."""
    if unit == "bytes":
        for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
            if abs(value) < 1024 or prefix == "Ti":
                return f"{value:.3g} {prefix}B"
            value /= 1024
    if unit == "s":
        for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
            if abs(value) >= size or name == "ms":
                return f"{value / size:.3g} {name}"
    if unit == "none":
        return f"{value:.0f}"
    return f"{value:.3g}"


class Panel:
    def __init__(self, panel, args):
        self.panel, self.args = panel, args
        self.defaults = panel["fieldConfig"]["defaults"]
        self.words = {k: v["text"] for m in self.defaults["mappings"] for k, v in m["options"].items()}

    def color(self, value):
        return COLORS[[s["color"] for s in self.defaults["thresholds"]["steps"] if s["value"] is None or value >= s["value"]][-1]]

    def text(self, value):
        return self.words.get(f"{value:.0f}") or shown(value, self.defaults["unit"])

    def expr(self, text):
        a = self.args
        for name, value in {"$__rate_interval": f"{a.rate}s", "$__range": f"{a.minutes * 60}s", **a.choices}.items():
            text = text.replace(name, value)
        return re.sub(r"\$\w+", ".*", text)

    def series(self):
        """Names with their values; those of the whole time for a course of time."""
        a = self.args
        for target in self.panel["targets"]:
            if target["instant"]:
                found = [(s["metric"], [s["value"]]) for s in ask(a.prometheus, "query", query=self.expr(target["expr"]), time=a.end)]
            else:
                found = [(s["metric"], s["values"]) for s in ask(a.prometheus, "query_range", query=self.expr(target["expr"]), start=a.end - a.minutes * 60, end=a.end, step=a.step)]
            for labels, values in found:
                name = re.sub(r"\{\{(\w+)\}\}", lambda m: labels.get(m[1], "?"), target["legendFormat"])
                yield name, [(float(t), float(v)) for t, v in values if math.isfinite(float(v))]

    def draw(self, ax):
        kind, found = self.panel["type"], [s for s in self.series() if s[1]]
        ax.set_title(self.panel["title"], fontsize=7, loc="left", pad=3)
        ax.tick_params(labelsize=5, length=2)
        if not found:
            ax.text(0.5, 0.5, "no data", ha="center", va="center", fontsize=8, color="#999999")
            ax.axis("off")
            return
        {"stat": self.stat, "timeseries": self.lines, "state-timeline": self.states, "table": self.table, "bargauge": self.bars}[kind](ax, found)

    def stat(self, ax, found):
        value = found[0][1][-1][1]
        ax.set(xticks=[], yticks=[])
        ax.set_facecolor(self.color(value))
        ax.text(0.5, 0.45, self.text(value), ha="center", va="center", fontsize=13, color="white", transform=ax.transAxes)

    def lines(self, ax, found):
        begin = self.args.end - self.args.minutes * 60
        minutes = lambda points: [(t - begin) / 60 for t, _ in points]
        if self.defaults["custom"].get("stacking"):
            times = sorted({t for _, points in found for t, _ in points})
            table = [dict(points) for _, points in found]
            ax.stackplot([(t - begin) / 60 for t in times], [[one.get(t, 0) for t in times] for one in table], labels=[n for n, _ in found], alpha=0.75, linewidth=0)
        else:
            for name, points in found:
                ax.plot(minutes(points), [v for _, v in points], linewidth=1, label=name)
        for step in self.defaults["thresholds"]["steps"][1:]:
            if self.defaults["custom"].get("thresholdsStyle"):
                top = ax.get_ylim()[1]
                if step["value"] <= top * 1.5:
                    ax.axhline(step["value"], color=COLORS[step["color"]], linestyle="--", linewidth=0.8)
        ax.set_ylim(bottom=0)
        ax.set_xlim(0, self.args.minutes)
        ax.yaxis.set_major_formatter(lambda v, _: shown(v, self.defaults["unit"]))
        ax.grid(linewidth=0.3)
        ax.legend(fontsize=4.5, loc="upper left", framealpha=0.6, ncol=2 if len(found) > 6 else 1)

    def states(self, ax, found):
        begin = self.args.end - self.args.minutes * 60
        for row, (name, points) in enumerate(found):
            for t, value in points:
                ax.barh(row, self.args.step / 60, left=(t - begin) / 60, height=0.8, color=self.color(value), linewidth=0)
            before = None
            for t, value in points:
                if value != before:
                    ax.text((t - begin) / 60, row, " " + self.text(value), fontsize=5, va="center", clip_on=True)
                before = value
        ax.set_yticks(range(len(found)), [n for n, _ in found])
        ax.set_xlim(0, self.args.minutes)

    def table(self, ax, found):
        ax.axis("off")
        rows = [[name, self.text(points[-1][1])] for name, points in found[:10]]
        table = ax.table(rows, loc="upper center", cellLoc="left", colWidths=[0.75, 0.25])
        table.auto_set_font_size(False)
        table.set_fontsize(5.5)

    def bars(self, ax, found):
        names, values = [n for n, _ in found][::-1], [p[-1][1] for _, p in found][::-1]
        ax.barh(range(len(names)), values, color=[self.color(v) for v in values])
        ax.set_yticks(range(len(names)), names)
        for i, v in enumerate(values):
            ax.text(v, i, " " + self.text(v), fontsize=5, va="center")
        ax.set_xlim(0, max(values + [1]) * 1.2)
        ax.set_xticks([])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prometheus")
    parser.add_argument("dashboard")
    parser.add_argument("picture")
    parser.add_argument("choices", nargs="*", help="VARIABLE=VALUE; others are all")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--end", type=float, default=time.time(), help="Unix time")
    parser.add_argument("--rows", type=int, default=99, help="only the first so many rows")
    parser.add_argument("--rate", type=int, default=60, help="seconds that stand for $__rate_interval")
    args = parser.parse_args()
    args.choices = {"$" + name: value for name, value in (c.split("=", 1) for c in args.choices)}
    args.step = max(1, args.minutes * 60 // 240)
    with open(args.dashboard) as f:
        board = json.load(f)
    beyond = [p["gridPos"]["y"] for p in board["panels"] if p["type"] == "row"][args.rows:]
    board["panels"] = [p for p in board["panels"] if not beyond or p["gridPos"]["y"] < beyond[0]]
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"])
    fig = plt.figure(figsize=(13, height * UNIT + 0.4), dpi=110)
    fig.suptitle(board["title"], fontsize=11, x=0.01, y=1 - 0.1 / fig.get_figheight(), ha="left", va="top")
    top = height / (height + 0.4 / UNIT)
    for p in board["panels"]:
        g = p["gridPos"]
        if p["type"] == "row":
            fig.text(0.01, top * (1 - (g["y"] + 0.7) / height), p["title"], fontsize=8, weight="bold", va="center")
            continue
        left = 0.075 if p["type"] in ("bargauge", "state-timeline") and g["w"] < 24 else 0.035
        box = [g["x"] / 24 + left * 0.75, top * (1 - (g["y"] + g["h"] - 0.7) / height), g["w"] / 24 - left, top * (g["h"] - 2.2) / height]
        if p["type"] == "stat":
            box[0], box[2] = g["x"] / 24 + 0.008, g["w"] / 24 - 0.016
        Panel(p, args).draw(fig.add_axes(box))
    fig.savefig(args.picture)


main()
