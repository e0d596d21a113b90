"""Models of scikit-learn's own estimators open without anybody's trust; code in them does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, TweedieRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    SplineTransformer,
)

from holdfast.serving.endpoints.trusted import PARTS

_RANDOM = np.random.default_rng(0)
ROWS = _RANDOM.random((60, 3))
CLASSES = (ROWS[:, 0] > 0.5).astype(int)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(SimpleImputer(), LogisticRegression()),
        make_pipeline(KBinsDiscretizer(encode="ordinal"), OneHotEncoder(), LogisticRegression()),
        make_pipeline(SplineTransformer(), SelectKBest(k=2), LogisticRegression()),
        CalibratedClassifierCV(LogisticRegression()),
        GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingRegressor(max_iter=2),
        StackingClassifier([("one", LogisticRegression())]),
        VotingClassifier([("one", LogisticRegression())]),
        GaussianProcessClassifier(),
        KNeighborsClassifier(metric="manhattan"),
        KNeighborsClassifier(algorithm="ball_tree"),
        MLPClassifier(max_iter=2, solver="sgd"),
        PoissonRegressor(),
        TweedieRegressor(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_an_ordinary_model_opens(model: Any):
    saved = skops.io.dumps(model.fit(ROWS, CLASSES))
    assert set(skops.io.get_untrusted_types(data=saved)) <= PARTS
    opened = skops.io.loads(saved, trusted=sorted(PARTS))
    assert np.array_equal(opened.predict(ROWS), model.predict(ROWS))


def test_a_model_that_names_code_does_not():
    import os

    saved = skops.io.dumps(FunctionTransformer(os.system))
    assert not set(skops.io.get_untrusted_types(data=saved)) <= PARTS
