"""Sign-constrained logistic regression and beta calibration."""

from __future__ import annotations

import numpy as np

from veduta.decision.model import CalibratedLogistic
from veduta.decision.terms import TERM_NAMES, TERM_SIGNS
from veduta.types import Bool, Float64

DECISION_RIDGE = 0.01  # per case: what keeps terms that say the same from sharing large weights of opposite sign


def usable_terms(stage: str) -> Bool:
    """Return (T,) which terms a stage has evidence for."""
    usable = np.ones(len(TERM_NAMES), bool)
    if stage == "similarity":
        usable[GEOMETRY:] = False
    if stage != "fine":
        usable[[TERM_NAMES.index(name) for name in FINE_TERMS]] = False
    return usable


def fit_regression(evidence: Float64, right: Bool, weight: Float64, usable: Bool) -> CalibratedLogistic:
    """Return the logistic regression of least regularized loss among those whose weights have the terms' signs."""
    from scipy.optimize import minimize

    share = weight / weight.sum()
    mean = share @ evidence
    scale = np.sqrt(share @ (evidence - mean) ** 2)
    scale = np.where(scale > 1e-9, scale, 1.0)
    standard = np.clip((evidence - mean) / scale, -4, 4)
    y = right.astype(np.float64)

    def loss(parameters: Float64) -> tuple[float, Float64]:
        weights, bias = parameters[:-1], parameters[-1]
        z = standard @ weights + bias
        error = share * (1 / (1 + np.exp(-z)) - y)
        value = share @ (np.logaddexp(0, z) - y * z) + DECISION_RIDGE / 2 * weights @ weights
        return float(value), np.append(standard.T @ error + DECISION_RIDGE * weights, error.sum())

    bounds = [_bound(sign, free) for sign, free in zip(TERM_SIGNS.tolist(), usable.tolist(), strict=True)]
    start = np.zeros(len(TERM_NAMES) + 1)
    solution = minimize(
        loss, start, jac=True, bounds=[*bounds, (None, None)], method="L-BFGS-B", options={"maxiter": 500}
    )
    return CalibratedLogistic(mean, scale, solution.x[:-1], float(solution.x[-1]))


def _bound(sign: int, free: bool) -> tuple[float | None, float | None]:  # noqa: FBT001
    if not free:
        return 0.0, 0.0
    return {1: (0.0, None), -1: (None, 0.0), 0: (None, None)}[sign]


def fit_calibration(scores: Float64, right: Bool, weight: Float64) -> tuple[float, float, float]:
    """Return (a, b, c) of the beta calibration of least loss, a and b not negative."""
    from scipy.optimize import minimize

    share, y = weight / weight.sum(), right.astype(np.float64)
    num_positive = np.count_nonzero(share)
    columns = np.stack((-np.logaddexp(0, -scores), np.logaddexp(0, scores), np.ones(len(scores))))

    def loss(parameters: Float64) -> tuple[float, Float64]:
        z = parameters @ columns
        error = share * (1 / (1 + np.exp(-z)) - y)
        pull = parameters - (1, 1, 0)  # towards leaving the scores alone: a few photos cannot say better
        value = share @ (np.logaddexp(0, z) - y * z) + 0.5 / num_positive * pull @ pull
        return float(value), columns @ error + pull / num_positive

    bounds = [(0.05, None), (0.05, None), (None, None)]  # never flat: the order of the scores stays
    solution = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, bounds=bounds, method="L-BFGS-B")
    a, b, c = solution.x.tolist()
    return a, b, c


FINE_TERMS = ("glue inliers", "glue margin")


GEOMETRY = TERM_NAMES.index("inliers")  # this term and all after it need verified candidates
