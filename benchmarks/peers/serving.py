"""MLServer, BentoML and LitServe as peers, each as its own documentation says, with two workers.

Logistic regression unbatched and the forest in batches of at most 32 that wait 5 ms: what was best
for each of them. (MLServer runs the logistic regression in its one process, where it is fastest.)
None checks a key or writes an audit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import IO, Any

PEERS = ("mlserver", "bentoml", "litserve")
PROGRAMS = Path(__file__).parents[2] / ".venv-peers"
TRAIN = Path(__file__).with_name("train_iris.py")
SAMPLE = [5.1, 3.5, 1.4, 0.2]
BATCH = 32
BATCH_S = 0.005

LITSERVE = """
import joblib, litserve as ls
class Iris(ls.LitAPI):
    def setup(self, device):
        self.model = joblib.load({model!r})
    def decode_request(self, request):
        return request["input"]
    def predict(self, x):
        return self.model.predict_proba(x if {batched} else [x])
    def encode_response(self, output):
        return {{"output": (output if {batched} else output[0]).tolist()}}
if __name__ == "__main__":
    api = Iris(max_batch_size={batch}, batch_timeout={wait}) if {batched} else Iris()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port={port}, generate_client_file=False, log_level="error")
"""
BENTOML = """
import bentoml, joblib, numpy as np
@bentoml.service(workers=2)
class Iris:
    def __init__(self):
        self.model = joblib.load({model!r})
    @bentoml.api(batchable={batched}, max_batch_size={batch})
    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(features)
"""


def installed(peer: str) -> bool:
    """Whether ``make bench`` has put it below ``.venv-peers``."""
    return (PROGRAMS / peer / "bin" / peer).exists()


class Server:
    """One peer that serves one model. ``root`` is the process that all others are below."""

    def __init__(self, peer: str, case: str, folder: Path, ports: list[int]) -> None:
        self.peer, self.case, self.port = peer, case, ports[0]
        self.folder = folder / f"{peer}-{case}"
        self.folder.mkdir()
        self._ports = ports
        self._bin = PROGRAMS / peer / "bin"
        self._python = str(self._bin / "python")
        subprocess.run([self._python, TRAIN, self.folder], check=True)
        self._model = str(self.folder / f"{case}.joblib")
        self._batched = case == "forest"
        self._log: IO[bytes] = (self.folder / "log").open("wb")
        argv = {"mlserver": self._mlserver, "bentoml": self._bentoml, "litserve": self._litserve}
        self.root = subprocess.Popen(
            argv[peer](),
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{self._bin}:{os.environ['PATH']}",
                "BENTOML_HOME": str(self.folder / "home"),
                "BENTOML_DO_NOT_TRACK": "True",
                "OMP_NUM_THREADS": "1",
            },
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def _mlserver(self) -> list[str]:
        names = ("http_port", "grpc_port", "metrics_port")
        ports = dict(zip(names, self._ports, strict=True))
        settings: dict[str, Any] = {"host": "127.0.0.1", "parallel_workers": 0, **ports}
        model: dict[str, Any] = {
            "name": self.case,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": self._model, "version": "v1"},
        }
        if self._batched:
            settings["parallel_workers"] = 2
            model |= {"max_batch_size": BATCH, "max_batch_time": BATCH_S}
        (self.folder / "settings.json").write_text(json.dumps(settings))
        (self.folder / "model-settings.json").write_text(json.dumps(model))
        return [str(self._bin / "mlserver"), "start", str(self.folder)]

    def _bentoml(self) -> list[str]:
        text = BENTOML.format(model=self._model, batched=self._batched, batch=BATCH)
        (self.folder / "service.py").write_text(text)
        serve = [str(self._bin / "bentoml"), "serve", "service:Iris"]
        return [*serve, "--host", "127.0.0.1", "--port", str(self.port)]

    def _litserve(self) -> list[str]:
        text = LITSERVE.format(
            model=self._model, batched=self._batched, batch=BATCH, wait=BATCH_S, port=self.port
        )
        (self.folder / "server.py").write_text(text)
        return [self._python, "server.py"]

    def path(self) -> str:
        """Where it is asked."""
        return f"/v2/models/{self.case}/infer" if self.peer == "mlserver" else "/predict"

    def body(self) -> bytes:
        """One query, as this peer is asked."""
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": SAMPLE}
        documents: dict[str, Any] = {
            "mlserver": {"inputs": [tensor]},
            "bentoml": {"features": [SAMPLE]},
            "litserve": {"input": SAMPLE},
        }
        return json.dumps(documents[self.peer]).encode()

    def request(self) -> bytes:
        """All of it."""
        body = self.body()
        head = (
            f"POST {self.path()} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Accept: */*\r\nConnection: keep-alive\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def log(self) -> str:
        """The end of what it said."""
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End it with all it has started: they are one session."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.root.pid, number)
                self.root.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.root.wait()
        self._log.close()


def version(peer: str) -> str:
    """Of what is installed."""
    code = f"import importlib.metadata as m; print(m.version({peer!r}))"
    python = PROGRAMS / peer / "bin" / "python"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()
