"""The query audit: every line is JSON, files turn over, a sample still has all errors."""

from __future__ import annotations

import json
from pathlib import Path

from holdfast.serving.front.audit import Audit
from holdfast.serving.settings import AuditSettings

WHO, WHERE = b'"key":"me",', b'"service":"s","endpoint":"e","generation":"g"'


def lines(folder: Path, settings: AuditSettings, statuses: list[int]) -> list[dict[str, object]]:
    audit = Audit(folder, settings)
    for status in statuses:
        audit.note(WHO, WHERE, "run", status, 0.0015, b'{"a":\n 1}', b'{"response": 2}')
    audit.close()
    files = sorted(folder.glob("queries*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_line_says_who_asked_what_and_how_it_ended(tmp_path: Path):
    (line,) = lines(tmp_path, AuditSettings(), [200])
    assert line.pop("time")
    assert line == {
        "action": "run",
        "status": 200,
        "ms": 1.5,
        "bytes": 9,
        "key": "me",
        "service": "s",
        "endpoint": "e",
        "generation": "g",
    }


def test_bodies_are_written_if_wanted_and_stay_on_the_line(tmp_path: Path):
    good, bad = lines(tmp_path, AuditSettings(bodies=True), [200, 400])
    assert (good["query"], good["answer"]) == ({"a": 1}, {"response": 2})
    assert "query" not in bad


def test_a_sample_has_every_error(tmp_path: Path):
    found = lines(tmp_path, AuditSettings(sampling=0.1), [200] * 500 + [500] * 7)
    statuses = [line["status"] for line in found]
    assert statuses.count(500) == 7
    assert 10 < statuses.count(200) < 120


def test_files_turn_over_by_size_and_old_ones_go(tmp_path: Path):
    settings = AuditSettings(file_bytes_max=1000, files=3)
    for _ in range(6):
        lines(tmp_path, settings, [200] * 20)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["queries.1.jsonl", "queries.2.jsonl"]


def test_nothing_is_written_when_it_is_off(tmp_path: Path):
    assert lines(tmp_path, AuditSettings(enabled=False), [200, 500]) == []
