"""Recorded evidence gives the expected answer in Python."""

import base64
import hashlib
import json
import os
import re
from datetime import datetime
from pathlib import Path

import casemate
import pytest
from fields import faults

HERE = Path(__file__).resolve().parent
FOLDER = Path(os.environ.get("CASEMATE_VECTORS", HERE.parents[3] / "shared" / "vectors"))
TABLE = json.loads((HERE.parents[1] / "vectors.json").read_text())


def vectors(judged_only=False):
    """Every vector of every kind, or of those that are judged with a policy: folder and kind."""
    if not FOLDER.is_dir():
        assert "CI" not in os.environ, f"no vectors in {FOLDER}; CI needs them"
        return [pytest.param(None, None, marks=pytest.mark.skip(f"NOT RUN: no vectors in {FOLDER}"))]
    found = []
    for kind in sorted(entry for entry in FOLDER.iterdir() if entry.is_dir()):
        if kind.name in TABLE["not_asked"]:
            continue
        if judged_only and "files" not in TABLE["kinds"][kind.name]:
            continue
        folders = sorted(entry for entry in kind.iterdir() if entry.is_dir())
        assert folders, f"{kind} holds no vectors"
        found += [pytest.param(folder, kind.name, id=f"{kind.name}/{folder.name}") for folder in folders]
    assert found
    return found


def milliseconds(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def cases(expected, meaning):
    """When evidence is judged, with what beside it, and what must come out."""
    if "runs" in expected:
        return [case for run in expected["runs"] for case in cases_of_run(run, meaning)]
    if "valid_from" not in expected:
        return [(milliseconds("2025-01-01T00:00:00+00:00"), None, meaning)]
    start, end = milliseconds(expected["valid_from"]), milliseconds(expected["valid_until"])
    inside = [(at, None, meaning) for at in (start, (start + end) // 2, end)]
    return [*inside, (start - 1000, None, "not_genuine"), (end + 1000, None, "not_genuine")]


def cases_of_run(run, meaning):
    """Collateral is good until its end, and a day later it is not."""
    beside = run["collateral"]
    now = (1000 * run["timestamp"], beside, meaning)
    if meaning != "genuine":
        return [now]
    end = milliseconds(run["valid_until"])
    return [now, (end, beside, meaning), (end + 86_400_000, beside, "not_genuine")]


def lenient(policy, key=None, of_kind=None):
    """The policy with which hardware of any age passes, if it is genuine; `key` is enrolled, a file in PEM."""
    of_kind = of_kind or {"replace": [], "append": ""}
    for found, written in TABLE["policy"]["replace"] + of_kind["replace"]:
        policy = re.sub(found, written, policy, flags=re.MULTILINE)
    rules = TABLE["policy"]["append"]
    if key and key.is_file():
        der = base64.b64decode(re.sub("-----[^-]*-----", "", key.read_text()))
        none, listed = TABLE["policy"]["enrolled"]
        rules = rules.replace(none, listed.replace("@DIGEST@", hashlib.sha256(der).hexdigest()), 1)
    return policy + rules + of_kind["append"]


def failed(nodes):
    for node in nodes:
        if "checks" in node:
            yield from failed(node["checks"])
        elif node["status"] == "failed":
            yield node["code"]


@pytest.mark.parametrize("folder, kind", vectors(judged_only=True))
def test_a_vector_gives_the_expected_answer(folder, kind):
    vector = json.loads((folder / "vector.json").read_text())
    rules = TABLE["kinds"][kind]
    files = [folder / name for name in rules["files"] if (folder / name).is_file() and (folder / name).stat().st_size]
    assert files
    key = rules.get("enrolled_key")
    policy = lenient(casemate.policies()["hardware_only"], folder / key if key else None, rules.get("policy"))
    meaning = rules["results"][vector["expected"]["result"]]
    for at, beside, expected in cases(vector["expected"], meaning):
        given = [*files, folder / beside] if beside else files
        answer = casemate.verify(given, policy=policy, at=at, subject=folder.name)
        if expected == "not_genuine":
            assert answer.outcome == "not_genuine", answer.text
        elif expected == "not_verified":
            assert not answer.verified, answer.text
        else:
            assert answer.outcome != "not_genuine", answer.text
            assert set(failed(answer.verdict["groups"])) <= set(TABLE["policy"]["may_fail"]), answer.text


@pytest.mark.parametrize("folder, kind", vectors())
def test_a_vector_says_what_it_states_when_inspected(folder, kind):
    vector = json.loads((folder / "vector.json").read_text())
    rules = TABLE["kinds"][kind]
    files = [folder / name for name in vector["files"] if (folder / name).stat().st_size]
    names = [file.name for file in files]
    for at, holds in times(vector["expected"], rules):
        inspection = casemate.inspect(files, at=at)
        assert faults(vector, rules, TABLE, names, inspection, holds) == []


def times(expected, rules):
    """When certificates are looked at, and whether their paths hold then."""
    if rules["results"][expected["result"]] != "path" or "valid_from" not in expected:
        return [(milliseconds(expected.get("valid_from", "2025-01-01T00:00:00+00:00")), True)]
    start, end = milliseconds(expected["valid_from"]), milliseconds(expected["valid_until"])
    return [(start, True), ((start + end) // 2, True), (end, True), (start - 1000, False), (end + 1000, False)]
