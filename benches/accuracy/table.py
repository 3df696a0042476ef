#!/usr/bin/env python3
"""Reads OUT/NAME-SEED.json of run.sh and prints, for each variant, the means over seeds as a table.

Spread is half the range over seeds. Classes without masks have image metrics only."""
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

METRICS = {"image AUROC": "image_auroc", "pixel AP": "pixel_ap", "AUPRO@0.30": "aupro_030"}


def read(path):
    """By metric: the figure of each class and, under `mean`, the mean over classes."""
    report = json.loads(path.read_text())
    figures = {}
    for title, key in METRICS.items():
        found = {c["class"]: c[key] for c in report["classes"] if c.get(key) is not None}
        figures[title] = found | {"mean": statistics.fmean(found.values())}
    return figures


def cell(values):
    spread = f" ±{(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def main(folder):
    runs = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        runs[path.stem.rpartition("-")[0]].append(read(path))
    print("| variant | seeds | " + " | ".join(METRICS) + " |")
    print("|" + " --- |" * (2 + len(METRICS)))
    for name, seeds in runs.items():
        print(f"| {name} | {len(seeds)} | " + " | ".join(cell([s[t]["mean"] for s in seeds]) for t in METRICS) + " |")
    classes = sorted({c for seeds in runs.values() for s in seeds for c in s["image AUROC"]} - {"mean"})
    print("\nimage AUROC by class\n\n| variant | " + " | ".join(classes) + " |")
    print("|" + " --- |" * (1 + len(classes)))
    for name, seeds in runs.items():
        print(f"| {name} | " + " | ".join(cell([s["image AUROC"][c] for s in seeds]) for c in classes) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
