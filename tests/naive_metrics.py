"""Areas under curves by their definitions, in plain loops."""

import math


def pairwise_auroc(labels: list[int], probabilities: list[float]) -> float:
    """The share of (abnormal, normal) pairs in the right order, ties counted half."""
    abnormal = [p for y, p in zip(labels, probabilities, strict=True) if y == 1]
    normal = [p for y, p in zip(labels, probabilities, strict=True) if y == 0]
    if not abnormal or not normal:
        return math.nan
    won = sum((a > b) + 0.5 * (a == b) for a in abnormal for b in normal)
    return won / (len(abnormal) * len(normal))


def stepwise_auprc(labels: list[int], probabilities: list[float]) -> float:
    """Sum of precision times the step in recall, from the highest probability down."""
    if not any(labels):
        return math.nan
    area, recall_before = 0.0, 0.0
    for cut in sorted(set(probabilities), reverse=True):
        positive = [y for y, p in zip(labels, probabilities, strict=True) if p >= cut]
        recall = sum(positive) / sum(labels)
        area += (recall - recall_before) * sum(positive) / len(positive)
        recall_before = recall
    return area
