"""What scikit-learn's own estimators consist of, and skops leaves to its caller to trust.

Numbers, settings and pure functions of theirs: none runs code of a package's. A forged table of
numbers may crash the worker that opens it, which is why a worker opens it.
"""

from __future__ import annotations

from typing import Final

_DISTANCES: Final = (
    *("Euclidean", "Manhattan", "Chebyshev", "Minkowski", "SEuclidean", "Mahalanobis", "Haversine"),
    *("Hamming", "Canberra", "BrayCurtis", "Jaccard", "Dice", "RogersTanimoto", "RussellRao"),
    *("SokalMichener", "SokalSneath"),
)
_KERNELS: Final = (
    *("ConstantKernel", "WhiteKernel", "RBF", "Matern", "RationalQuadratic", "ExpSineSquared"),
    *("DotProduct", "PairwiseKernel", "Sum", "Product", "Exponentiation", "CompoundKernel"),
)
_LOSSES: Final = (
    *("AbsoluteError", "ExponentialLoss", "HalfBinomialLoss", "HalfGammaLoss", "PinballLoss"),
    *("HalfMultinomialLoss", "HalfPoissonLoss", "HalfSquaredError", "HalfTweedieLoss"),
    *("HalfTweedieLossIdentity", "HuberLoss"),
)
_LINKS: Final = ("IdentityLink", "Interval", "LogLink", "LogitLink", "MultinomialLogit")

PARTS: Final = frozenset(
    {
        "numpy.dtype",
        "numpy.mean",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "scipy.sparse._csr.csr_matrix",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        *(f"sklearn._loss.link.{name}" for name in _LINKS),
        *(f"sklearn._loss.loss.{name}" for name in _LOSSES),
        *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
        *(
            f"sklearn.metrics._dist_metrics.{name}Distance{bits}"
            for name in _DISTANCES
            for bits in (32, 64)
        ),
    }
)
