"""Trained models, opened as their flavour asks.

skops and ONNX hold no code. Pickles, and MLflow models that are pickles within, run code when
they are opened: only for packages that a trusted key signed, on nodes that allow it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.serving.endpoints.base import Surroundings
from holdfast.serving.endpoints.engines import Engine, ForestEngine, OnnxEngine, optional
from holdfast.serving.endpoints.prediction import RecordModel
from holdfast.serving.endpoints.predictor import Predictor
from holdfast.serving.endpoints.trusted import PARTS
from holdfast.serving.errors import EndpointKindError, LoadError
from holdfast.serving.packages.manifest import ClusteringSpec, PredictionSpec


def load_model(spec: PredictionSpec | ClusteringSpec, around: Surroundings) -> RecordModel:
    """The model of an endpoint; raises ``LoadError``, ``EndpointKindError``."""
    path = around.content / spec.model
    if spec.flavour == "onnx":
        return Predictor(spec, OnnxEngine(path))
    if spec.flavour == "skops":
        model = _skops(path, spec.trusted_types, around)
        quick = not spec.frame and ForestEngine.suits(model, len(spec.features))
        return Predictor(spec, ForestEngine(model) if quick else Engine(model))
    if spec.flavour == "mlflow":
        return Predictor(spec, _mlflow(path, spec, around))
    return Predictor(spec, Engine(_pickle(path, around)))


def _skops(path: Path, trusted: list[str], around: Surroundings) -> Any:
    if trusted and not around.allow_pickle:
        raise LoadError(
            "trusted_types lets a model run code of its own: the package must be signed by a "
            "trusted key, and the node must have allow_pickle."
        )
    io = optional("skops.io", "skops models")
    trusted = [*trusted, *PARTS]
    unknown = [one for one in io.get_untrusted_types(file=path) if one not in trusted]
    if unknown:
        raise LoadError(f"{path.name} holds types that are not trusted: {', '.join(unknown)}.")
    return io.load(path, trusted=trusted)


def _pickle(path: Path, around: Surroundings) -> Any:
    if not around.allow_pickle:
        raise EndpointKindError(
            f"{path.name} is a pickle, which runs code when opened: sign the package with a key "
            "the node trusts, and set allow_pickle on the node; or save the model with skops or "
            "as ONNX."
        )
    import pickle  # noqa: PLC0415 - signed, and allowed by the node

    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - signed, and allowed by the node


def _mlflow(folder: Path, spec: PredictionSpec | ClusteringSpec, around: Surroundings) -> Engine:
    """An MLflow model's folder: by what its MLmodel says is within."""
    yaml: Any = optional("yaml", "MLflow models")
    try:
        described: Any = yaml.safe_load((folder / "MLmodel").read_text())
        flavours: dict[str, Any] = described["flavors"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise LoadError(f"{spec.model} is not an MLflow model: {error!r}.") from None
    if "onnx" in flavours:
        return OnnxEngine(_within(folder, str(flavours["onnx"].get("data", "model.onnx"))))
    sklearn = flavours.get("sklearn")
    if sklearn is not None:
        path = _within(folder, str(sklearn.get("pickled_model", "model.pkl")))
        if sklearn.get("serialization_format") == "skops":
            return Engine(_skops(path, spec.trusted_types, around))
        return Engine(_pickle(path, around))
    if "python_function" in flavours:
        if not around.allow_pickle:
            return Engine(_pickle(folder / "MLmodel", around))  # says why not
        return Engine(optional("mlflow.pyfunc", "MLflow models").load_model(str(folder)))
    raise EndpointKindError(
        f"{spec.model} has the MLflow flavours {sorted(flavours)}; served are sklearn, onnx and "
        "python_function."
    )


def _within(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise LoadError(f"{name!r} leads out of the model's folder.")
    return path
