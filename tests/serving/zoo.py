"""One package with an endpoint of each kind."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import skops.io
from skl2onnx import to_onnx
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.serving.nodes import function, make

from holdfast.serving.packages.build import Built

FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SETOSA = dict(zip(FEATURES, [5.1, 3.5, 1.4, 0.2], strict=True))
VIRGINICA = dict(zip(FEATURES, [6.7, 3.0, 5.2, 2.3], strict=True))
CLASSES = ["setosa", "versicolor", "virginica"]

CODE = """
from holdfast.serving import siblings

def add(a, b=1):
    return a + b

def greet(id):
    row = siblings.ask("people", {"data": {"id": id}}, action="lookup")["results"][0]["data"]
    return "hello " + row["name"]

class Doubler:
    def __init__(self, folder):
        self.by = int(open(folder + "/by.txt").read())

    def predict(self, df):
        return df["x"] * self.by

class Repeat:
    def __init__(self, folder):
        pass

    def forecast(self, items):
        last = items[-1]["target"]
        return [{"forecast": last, "time": str(day), "ignored": False} for day in range(2)]
"""
PEOPLE = "id,name,city\n1,Ada,London\n2,Grace,New York\n3,Alan,London\n3,Alan,Cambridge\n"


def endpoints() -> list[dict[str, Any]]:
    def model(name: str, file: str, flavour: str, **more: Any) -> dict[str, Any]:
        given = {"kind": "prediction", "features": FEATURES, **more}
        return {"id": name, "model": file, "flavour": flavour, **given}

    double = {"file": "f.py", "class_name": "Doubler", "folder": "data"}
    enrich = [{"endpoint": "sizes", "columns": ["x"]}]
    return [
        function("add"),
        function("greet"),
        model("lr", "lr.skops", "skops", classes=CLASSES),
        model("forest", "forest.skops", "skops"),
        model("onnx", "forest.onnx", "onnx", classes=CLASSES),
        model("length", "linear.skops", "skops", task="regression", features=FEATURES[:3]),
        model("groups", "kmeans.skops", "skops", kind="clustering"),
        {"id": "double", "kind": "custom-prediction", **double},
        {"id": "rich", "kind": "custom-prediction", **double, "enrich": enrich},
        {"id": "later", "kind": "forecast", "file": "f.py", "class_name": "Repeat"},
        {
            "id": "by-city",
            "kind": "sql",
            "database": "people.sqlite",
            "query": "SELECT id, name FROM people WHERE city = :city ORDER BY id",
            "parameters": ["city"],
        },
        {"id": "people", "kind": "lookup", "data": "people.csv", "keys": ["id"]},
        {"id": "sizes", "kind": "lookup", "data": "sizes.csv", "keys": ["who"]},
    ]


def models() -> dict[str, bytes]:
    data, target = load_iris(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=10, random_state=0).fit(data, target)
    graph = to_onnx(forest, data[:1].astype("float32"), options={"zipmap": False})
    return {
        "lr.skops": skops.io.dumps(LogisticRegression(max_iter=500).fit(data, target)),
        "forest.skops": skops.io.dumps(forest),
        "forest.onnx": graph.SerializeToString(),  # pyright: ignore[reportAttributeAccessIssue]
        "linear.skops": skops.io.dumps(LinearRegression().fit(data[:, :3], data[:, 3])),
        "kmeans.skops": skops.io.dumps(KMeans(3, random_state=0).fit(data)),
    }


def people() -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as file:
        db = sqlite3.connect(file.name)
        db.execute("CREATE TABLE people (id INTEGER, name TEXT, city TEXT)")
        rows = [(1, "Ada", "London"), (2, "Grace", "New York"), (3, None, "London")]
        db.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)
        db.commit()
        db.close()
        return Path(file.name).read_bytes()


def zoo(folder: Path, generation: str = "v1", **more: Any) -> Built:
    """The service ``zoo``."""
    files = {
        "f.py": CODE,
        "data/by.txt": "2",
        "people.csv": PEOPLE,
        "sizes.csv": "who,x\nsmall,2\nlarge,50\nboth,1\nboth,2\n",
        "people.sqlite": people(),
        **models(),
    }
    return make(folder, "zoo", files, endpoints(), generation=generation, **more)
