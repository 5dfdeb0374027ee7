"""Fitting of one Gaussian mixture per class, by scikit-learn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from bench_idefender.mixtures import LEAST_PER_COMPONENT, ClassMixtures, Covariance, Mixture, check_sizes
from bench_idefender.options import IDefenderOptions
from benchmark import InputError, Progress, Rng

WORKING_MEMORY = 2 * 1024**3
"""Bytes that the classes which are fitted at the same time may take, unless a single one takes more."""
COPIES = 6
"""Arrays of the size of a class's states that EM holds at a time."""
TOLERANCE = 1e-3
"""EM has converged where an iteration changes the log-likelihood by less, in nats per state; scikit-learn's default."""
CLEAR = 10
"""EM that stops at a tolerance may still gain this many times as much; candidates further apart keep their order."""


def fit_class_mixtures(
    states: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    options: IDefenderOptions,
    *,
    rejected: float,
    rng: Rng,
    progress: Progress,
) -> ClassMixtures:
    """Fit one mixture per class by EM and set its threshold.

    Args:
        states: (N, D), hidden states of the training images that are learned from.
        labels: (N,), their classes.
        class_names: name per class.
        options: the detector's.
        rejected: share of each class's states that its threshold rejects.
        rng: the source of all randomness.
        progress: hears how many classes are done, and warnings.

    Raises:
        InputError: a class has too few images, states are not finite, a covariance is singular or too large.
    """
    origin = directions = None
    check_sizes(np.bincount(labels, minlength=len(class_names)), states.shape[1], class_names, options)
    if not np.isfinite(states).all():
        broken = int((~np.isfinite(states)).any(1).sum())
        raise InputError(
            f"i-defender: the hidden states of {broken} of {len(states)} training images at layer {options.layer!r} "
            "hold NaN or infinity. Choose another layer, or train the network so that its activations stay finite."
        )
    if options.pca is not None:
        with threadpool_limits({"openmp": 1, "blas": torch.get_num_threads()}):
            origin, directions = _principal(states, options.pca, rng.spawn("pca"))
    dimensions = states.shape[1] if directions is None else len(directions)

    def own(c: int) -> np.ndarray:
        chosen = states[labels == c].astype(np.float64)
        return chosen if origin is None or directions is None else (chosen - origin.numpy()) @ directions.numpy().T

    def fit(c: int) -> GaussianMixture:
        return _fit_mixture(own(c), options, rng.spawn("class", c), class_names[c])

    unfinished, mixtures, thresholds, spreads = [], [], [], []
    at_once = WORKING_MEMORY // (8 * COPIES * dimensions * int(np.bincount(labels).max()))
    threads = max(1, min(torch.get_num_threads(), len(class_names), at_once))
    # A thread per class: more threads in a class would add its sums up in an order that depends on their number.
    pool = ThreadPoolExecutor(threads, initializer=threadpool_limits, initargs=({"openmp": 1},))
    with threadpool_limits(1), warnings.catch_warnings():
        # Said once for all classes; where k-means finds too few distinct states, the covariances tell.
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            for c, fitted in enumerate(pool.map(fit, range(len(class_names)))):
                mixture = Mixture.of(fitted)
                likelihoods = mixture.log_likelihood(torch.from_numpy(own(c)))
                mixtures.append(mixture)
                thresholds.append(_threshold(likelihoods, rejected))
                spreads.append(float(likelihoods.std()) or 1.0)  # 0 where all are equally likely
                unfinished += [] if fitted.converged_ else [class_names[c]]
                progress.update(c + 1, len(class_names), "classes")
        finally:
            pool.shutdown(cancel_futures=True)
    if unfinished:
        progress.warn(
            f"i-defender: EM had not converged after {options.max_iter} iterations ({_listed(unfinished)}). Raise "
            "`max_iter`, or set fewer `components`."
        )
    return ClassMixtures(
        tuple(mixtures),
        torch.tensor(thresholds, dtype=torch.float64),
        torch.tensor(spreads, dtype=torch.float64),
        origin,
        directions,
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"class{'es' if len(names) > 1 else ''} " + ", ".join(map(repr, names[:5])) + more


def _principal(states: np.ndarray, wanted: int, rng: Rng) -> tuple[Tensor, Tensor]:
    fitted = PCA(wanted, random_state=rng.seed).fit(states)
    return torch.from_numpy(np.float64(fitted.mean_)), torch.from_numpy(np.float64(fitted.components_))


class _TiedMixture(GaussianMixture):
    """Scikit-learn's, with the product of all states and the one matrix formed once instead of once per Gaussian."""

    def _estimate_log_prob(self, X: np.ndarray, **kwargs: object) -> np.ndarray:
        factor = self.precisions_cholesky_
        distances: np.ndarray = cdist(X @ factor, self.means_ @ factor, "sqeuclidean")
        constant = np.log(np.diagonal(factor)).sum() - 0.5 * X.shape[1] * math.log(2 * math.pi)
        return constant - 0.5 * distances


class _Em:
    """Expectation maximisation with some number of Gaussians, which can stop early and go on from there.

    Attributes:
        mixture: scikit-learn's, None once a covariance was singular.
        cost: the Bayesian information criterion in nats per state: half of it over the number of states.
    """

    mixture: GaussianMixture | None

    def __init__(self, states: np.ndarray, components: int, floor: float, options: IDefenderOptions, rng: Rng) -> None:
        kind = _TiedMixture if options.covariance == "tied" else GaussianMixture
        self.mixture = kind(
            components,
            covariance_type=options.covariance,
            reg_covar=floor,
            n_init=options.n_init,
            random_state=rng.spawn("components", components).seed,
        )
        self.cost = math.inf
        self._bounds: list[float] = []
        self._states = states
        self._left = options.max_iter
        self._penalty = _parameters(components, states.shape[1], options.covariance) * _penalty(states)

    def until(self, tolerance: float) -> _Em:
        """Go on until an iteration changes the log-likelihood by less than `tolerance`, and return this."""
        if self.mixture is None or (len(self._bounds) > 1 and abs(self._bounds[-1] - self._bounds[-2]) < tolerance):
            return self
        if self._left == 0:
            self.mixture.converged_ = False
            return self
        try:
            self.mixture.set_params(tol=tolerance, max_iter=self._left).fit(self._states)
        except ValueError as error:
            if "ill-defined empirical covariance" not in str(error):
                raise
            self.mixture = None
        if self.mixture is None or not _conditioned(self.mixture):
            self.mixture, self.cost = None, math.inf
            return self
        self.mixture.set_params(warm_start=True)
        self._left -= self.mixture.n_iter_
        self._bounds += self.mixture.lower_bounds_
        self.cost = self._penalty - float(self._bounds[-1])
        return self


def _parameters(components: int, dimensions: int, covariance: Covariance) -> int:
    """Return how many free parameters a mixture has."""
    matrix = dimensions * (dimensions + 1) // 2
    each = {"full": matrix, "tied": 0, "diag": dimensions, "spherical": 1}[covariance]
    return components * (each + dimensions + 1) - 1 + (matrix if covariance == "tied" else 0)


def _penalty(states: np.ndarray) -> float:
    """Return what the Bayesian information criterion takes for a parameter, in nats per state."""
    return math.log(len(states)) / (2 * len(states))


def _fit_mixture(states: np.ndarray, options: IDefenderOptions, rng: Rng, name: str) -> GaussianMixture:
    """Return scikit-learn's mixture for the states (N, D) of the class `name`."""
    floor = options.regularization * float(states.var(0).mean())

    def em(components: int) -> _Em:
        return _Em(states, components, floor, options, rng)

    chosen = _least_bic(states, options, em) if options.components == "bic" else em(options.components)
    fitted = chosen.until(TOLERANCE).mixture
    if fitted is None:
        constant = int((states.var(0) == 0).sum())
        raise InputError(
            f"i-defender: class {name!r}: a covariance is singular ({len(states)} states of {states.shape[1]} "
            f"dimensions, {constant} of them constant, regularization {options.regularization}). Set a larger "
            "`regularization`, a smaller `pca`, or fewer `components`."
        )
    return fitted


def _least_bic(states: np.ndarray, options: IDefenderOptions, em: Callable[[int], _Em]) -> _Em:
    """Return the candidate before the first whose Bayesian information criterion is greater.

    Likelihoods have to be known only as well as tells candidates apart: they start at a tenth of what one more Gaussian
    has to gain, and go on while they lie too close together. The one that is returned may have to go on.
    """
    one, two = (_parameters(components, states.shape[1], options.covariance) for components in (1, 2))
    coarse = max(TOLERANCE, (two - one) * _penalty(states) / CLEAR)
    best = em(1).until(coarse)
    for components in range(2, min(options.max_components, len(states) // LEAST_PER_COMPONENT) + 1):
        rival, tolerance = em(components).until(coarse), coarse
        while tolerance > TOLERANCE and abs(best.cost - rival.cost) < CLEAR * tolerance:
            tolerance = max(TOLERANCE, tolerance / 3)
            best.until(tolerance)
            rival.until(tolerance)
        if rival.cost < best.cost:
            best = rival
        elif best.mixture is not None:  # more of them cost most of the time, and hardly ever come down again
            break
    return best


def _conditioned(mixture: GaussianMixture) -> bool:
    """Tell whether every covariance can be inverted: Cholesky factors of singular ones exist by rounding alone."""
    covariances = mixture.covariances_
    dimensions = mixture.means_.shape[1]
    if mixture.covariance_type in ("full", "tied"):
        variances = np.linalg.eigvalsh(covariances)
    else:
        variances = covariances if mixture.covariance_type == "diag" else covariances[:, None]
    return bool((variances.min(-1) > variances.max(-1) * dimensions * np.finfo(np.float64).eps).all())


def _threshold(likelihoods: Tensor, rejected: float) -> float:
    """Return a value that at most the share `rejected` of the log-likelihoods (N,) falls below."""
    ordered = likelihoods.sort().values
    below = math.floor(rejected * len(ordered) + 1e-9)
    # Between two images: rounding of another batch cannot turn the verdict on either.
    gap = ordered[below] - ordered[below - 1] if below else ordered[below].abs().clamp_min(1) * 1e-6
    return float(ordered[below] - gap / 2)
