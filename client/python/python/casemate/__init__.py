"""Verify evidence of confidential VMs.

The rules are those of the ``casemate`` command: both call the same code. It fetches nothing and knows no clock
but the one asked for here.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence, Union

from ._casemate import __version__, call as _call

__all__ = ["Answer", "Error", "File", "__version__", "inspect", "policies", "recognise", "verify"]

#: A file that was handed over: its bytes, its path, or its name and its bytes.
File = Union[bytes, "PathLike[str]", "tuple[str, bytes]"]


class Error(Exception):
    """There is nothing to judge. Evidence that is not good enough is an answer, not an error."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message}; {hint}")
        self.code = code
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Answer:
    """What came out, and why."""

    #: ``verified``, ``refused`` or ``not_genuine``.
    outcome: str
    #: Every check (``docs/reference/verdict.md``).
    verdict: Mapping[str, Any]
    #: The verdict as people read it, in pieces.
    outline: Mapping[str, Any]
    #: The verdict as people read it.
    text: str
    #: The kind of each file, in the order in which they came.
    kinds: Sequence[str]

    @property
    def verified(self) -> bool:
        """Whether the evidence is genuine and the policy accepts it."""
        return self.outcome == "verified"

    def __str__(self) -> str:
        return self.text


def verify(
    files: Iterable[File],
    *,
    policy: str,
    at: Union[datetime, int, None] = None,
    subject: Union[str, None] = None,
    accept_simulated: bool = False,
    workload: Union[Mapping[str, str], None] = None,
    images: Sequence[Mapping[str, str]] = (),
    challenge: Union[Mapping[str, Any], None] = None,
) -> Answer:
    """Judges files, and says why.

    What is not expected is not asked for, and fails if the policy says ``"expected"``.

    :param policy: the appraisal policy, as TOML (``docs/reference/policy.md``); see :func:`policies`.
    :param at: when it is judged, a time with a zone or milliseconds since 1970; now, if left out.
    :param subject: what to call the evidence in the answer.
    :param accept_simulated: whether simulated hardware will do, where the policy lists its root.
    :param workload: ``{"digest": ..., "source": ...}``, the workload that must run.
    :param images: ``{"image": ..., "measurement": ..., "source": ...}``, known launch measurements.
    :param challenge: ``{"nonce": {"value": ..., "made_ms": ...}}``, or ``report_data`` or
        ``application`` in place of ``nonce``.
    :raises Error: if there is nothing to judge.
    """
    question: dict[str, Any] = {
        "policy": policy,
        "at_ms": _milliseconds(at),
        "accept_simulated": accept_simulated,
        "images": [dict(image) for image in images],
    }
    if subject is not None:
        question["subject"] = subject
    if workload is not None:
        question["workload"] = dict(workload)
    if challenge is not None:
        question["challenge"] = dict(challenge)
    answer = _ask({"verify": question}, files)["answer"]
    return Answer(
        outcome=answer["verdict"]["outcome"],
        verdict=answer["verdict"],
        outline=answer["outline"],
        text=answer["text"],
        kinds=answer["kinds"],
    )


def recognise(files: Iterable[File]) -> list[dict[str, Any]]:
    """Says of each file what it is: ``{"kind": ...}``, or ``{"error": ...}`` for what cannot be used."""
    return _ask({"recognise": {}}, files)["files"]


def inspect(files: Iterable[File], *, at: Union[datetime, int, None] = None) -> Mapping[str, Any]:
    """Says what stands in files and what holds among them, and judges nothing.

    :param at: when the paths of certificates are looked at; now, if left out.
    :return: ``files``, of each ``{"content": ...}`` or ``{"error": ...}``, and ``checks`` by name
        (``docs/reference/question.md``).
    """
    return _ask({"inspect": {"at_ms": _milliseconds(at)}}, files)["inspection"]


def policies() -> dict[str, str]:
    """Policies to start from: ``hardware_only`` accepts any image and workload, ``example`` what you expect."""
    return _ask({"policies": {}}, ())["policies"]


def _ask(request: Mapping[str, Any], files: Iterable[File]) -> dict[str, Any]:
    given = [_file(file, index) for index, file in enumerate(files, start=1)]
    reply = json.loads(_call(json.dumps(request), given))
    if "error" in reply:
        raise Error(**reply["error"])
    return reply


def _file(file: File, index: int) -> tuple[str, bytes]:
    if isinstance(file, (bytes, bytearray)):
        return f"file {index}", bytes(file)
    if isinstance(file, tuple):
        name, content = file
        return name, bytes(content)
    path = Path(file)
    return path.name, path.read_bytes()


def _milliseconds(at: Union[datetime, int, None]) -> int:
    if at is None:
        return time.time_ns() // 1_000_000
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError("a time needs its zone, as in datetime(2026, 5, 1, tzinfo=timezone.utc)")
        return round(at.timestamp() * 1000)
    return at
