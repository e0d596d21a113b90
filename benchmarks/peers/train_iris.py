"""Run with a peer's own Python: writes the benchmark's models as its scikit-learn saves them."""

from __future__ import annotations

import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

data, target = load_iris(return_X_y=True)
folder = Path(sys.argv[1])
joblib.dump(LogisticRegression(max_iter=500).fit(data, target), folder / "lr.joblib")
forest = RandomForestClassifier(n_estimators=100, random_state=0).fit(data, target)
joblib.dump(forest, folder / "forest.joblib")
