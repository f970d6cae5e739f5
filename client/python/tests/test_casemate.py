"""The library's own edges: what it takes and what it refuses."""

from datetime import datetime, timezone
from threading import Thread

import casemate
import pytest

POLICY = casemate.policies()["hardware_only"]
REPORT = bytes([3]) * 1184


@pytest.mark.parametrize(
    "code, files, question",
    [
        ("no_evidence", [], {}),
        ("unknown", [b"\x01\x02\x03"], {}),
        ("twice", [REPORT, REPORT], {}),
        ("bundle", [b"\x82\x01"], {}),
        ("certificates", [b"\x30\x82"], {}),
        ("too_many", [REPORT] * 33, {}),
        ("too_long", [bytes((8 << 20) + 1)], {}),
        ("policy", [REPORT], {"policy": "version = 1"}),
        ("question", [REPORT], {"workload": {"digest": "00", "source": ""}}),
        ("question", [REPORT], {"at": -1}),
        ("no_session", [REPORT], {"challenge": {"nonce": {"value": "00" * 32, "made_ms": 0}}}),
        ("chosen", [REPORT], {"challenge": {"application": {"value": "43534d31"}}}),
    ],
)
def test_each_way_to_have_nothing_to_judge_has_its_own_code(code, files, question):
    with pytest.raises(casemate.Error) as refused:
        casemate.verify(files, **{"policy": POLICY, **question})
    assert refused.value.code == code
    assert refused.value.hint


def test_evidence_that_is_not_good_enough_is_an_answer():
    answer = casemate.verify([("report.bin", REPORT)], policy=POLICY, subject="it")
    assert answer.outcome == "not_genuine" and not answer.verified
    assert answer.kinds == ["snp_report"]
    assert str(answer).startswith(answer.outline["sentence"]) and answer.outline["sentence"].startswith("it ")


def test_files_are_recognised_one_by_one(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("nothing")
    known, unknown = casemate.recognise([bytearray(1184), path])
    assert known == {"kind": {"kind": "snp_report", "name": "SEV-SNP report"}}
    assert unknown["error"]["code"] == "unknown" and unknown["error"]["message"].startswith("note.txt ")


def test_times_have_a_zone():
    with pytest.raises(ValueError, match="zone"):
        casemate.verify([REPORT], policy=POLICY, at=datetime(2026, 5, 1))
    assert casemate.verify([REPORT], policy=POLICY, at=datetime(2026, 5, 1, tzinfo=timezone.utc)).text


def test_threads_may_ask_at_once():
    answers = []
    threads = [
        Thread(target=lambda: answers.append(casemate.verify([REPORT], policy=POLICY).text)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and len(set(answers)) == 1
