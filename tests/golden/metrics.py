#!/usr/bin/env python3
"""Writes tests/golden/metrics.json: scikit-learn's metrics on toy data.

    pip install numpy scikit-learn scipy && python3 tests/golden/metrics.py > tests/golden/metrics.json

Scores and maps are made by a formula that the Rust test repeats (a 64-bit mixer), quantised so
that ties occur. AUPRO is computed by thresholding at every distinct score, region by region: the
definition, not the sorted shortcut of the program.
"""
import json

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

M = (1 << 64) - 1


def mix(n):
    z = (n + 0x9E3779B97F4A7C15) & M
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
    return z ^ (z >> 31)


def unit(n):
    return (mix(n) >> 40) / float(1 << 24)


def f1_max(y, s):
    p, r, _ = precision_recall_curve(y, s)
    return float(np.max(2 * p * r / np.maximum(p + r, 1e-12)))


def rank(y, s):
    return {"auroc": float(roc_auc_score(y, s)), "ap": float(average_precision_score(y, s)), "f1_max": f1_max(y, s)}


def aupro(maps, masks, limit):
    regions = []
    for i, m in enumerate(masks):
        lab, n = label(m, structure=np.ones((3, 3)))
        regions += [(i, lab == k) for k in range(1, n + 1)]
    negatives = ~masks
    xs, ys = [0.0], [0.0]
    for t in np.unique(maps)[::-1]:
        hit = maps >= t
        xs.append(float((hit & negatives).sum() / negatives.sum()))
        ys.append(float(np.mean([hit[i][r].mean() for i, r in regions])))
    xs, ys = np.array(xs), np.array(ys)
    # Value at the limit: linear between the points around it.
    k = int(np.searchsorted(xs, limit, side="right"))
    if k < len(xs):
        y = ys[k - 1] + (ys[k] - ys[k - 1]) * (limit - xs[k - 1]) / (xs[k] - xs[k - 1])
        xs, ys = np.append(xs[:k], limit), np.append(ys[:k], y)
    return float(np.trapezoid(ys, xs) / limit)


def image_case(seed, n, levels, lift):
    y = [1 if unit(seed * 1000003 + 2 * i) < 0.4 else 0 for i in range(n)]
    s = [np.floor((unit(seed * 1000003 + 2 * i + 1) + lift * y[i]) * levels) / levels for i in range(n)]
    return {"seed": seed, "n": n, "levels": levels, "lift": lift, **rank(y, s)}


def map_case(seed, images, side, levels):
    maps = np.zeros((images, side, side))
    masks = np.zeros((images, side, side), dtype=bool)
    for i in range(images):
        for y in range(side):
            for x in range(side):
                n = seed * 1000003 + (i * side + y) * side + x
                # Two blobs that touch at a corner in some pictures, none in every third.
                cx, cy = 4 + (5 * i) % (side - 8), 4 + (7 * i) % (side - 8)
                inside = (abs(x - cx) <= 2 and abs(y - cy) <= 1) or (0 <= x - cx - 3 <= 1 and 0 <= y - cy - 2 <= i % 3)
                masks[i, y, x] = inside and i % 3 != 2
                near = max(0.0, 1.0 - (abs(x - cx) + abs(y - cy)) / 8.0)
                maps[i, y, x] = np.floor((unit(n) + near) * levels) / levels
    out = {"seed": seed, "images": images, "side": side, "levels": levels, **rank(masks.ravel(), maps.ravel())}
    out["aupro_030"], out["aupro_005"] = aupro(maps, masks, 0.30), aupro(maps, masks, 0.05)
    return out


print(json.dumps({
    "image": [image_case(1, 60, 1024, 0.2), image_case(2, 200, 16, 0.3), image_case(3, 40, 4, 0.0), image_case(4, 30, 64, 1.0)],
    "map": [map_case(11, 4, 24, 4096), map_case(12, 6, 20, 32), map_case(13, 3, 32, 4)],
}, indent=1))
