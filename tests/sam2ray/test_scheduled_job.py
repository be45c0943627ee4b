"""A scheduled job is followed to its end, also by a dashboard that is away for a while."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from itertools import chain, repeat

import pytest
from ray.job_submission import JobSubmissionClient
from rude_web import Answer, RudeWeb, rude_web, saying

from jobs.scheduled import main
from sam2ray import scheduled_job
from sam2ray.errors import ClusterSilent
from sam2ray.scheduled_job import follow

JOB = "nightly-0001"


def _json(content: object) -> Answer:
    body = json.dumps(content).encode()
    return saying(f"200 OK\nContent-Length: {len(body)}\nConnection: close", body)


def _job(status: str, exit_code: int | None = None) -> Answer:
    facts = {"type": "SUBMISSION", "entrypoint": "true", "submission_id": JOB}
    return _json({**facts, "status": status, "driver_exit_code": exit_code})


def _drops(_request: str, connection: socket.socket) -> None:
    connection.close()


RUNNING, ENDED = _job("RUNNING"), _job("FAILED", 3)
STARTING = saying("500 Internal Server Error\nContent-Length: 0\nConnection: close")
A_PAGE = saying("200 OK\nContent-Length: 13\nConnection: close", b"<html></html>")


class Dashboard:
    """What a test says of the job, one answer after another, and the last one for ever."""

    def __init__(self) -> None:
        self.looks: Iterator[Answer] = repeat(ENDED)
        self.log: Answer = _drops

    def says(self, *looks: Answer) -> None:
        self.looks = chain(looks, repeat(looks[-1]))

    def __call__(self, request: str, connection: socket.socket) -> None:
        method, path, _ = request.split(" ", 2)
        answers = {
            "/api/version": _json({"version": "4", "ray_version": "2.60.0", "ray_commit": ""}),
            "/api/jobs/": _json([] if method == "GET" else {"submission_id": JOB, "job_id": JOB}),
            f"/api/jobs/{JOB}/logs/tail": self.log,
        }
        answer = next(self.looks) if path == f"/api/jobs/{JOB}" else answers[path]
        answer(request, connection)


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Dashboard:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setattr(scheduled_job, "sleep", lambda _: None)
    return Dashboard()


@pytest.fixture
def server(dashboard: Dashboard) -> Iterator[RudeWeb]:
    with rude_web(dashboard) as server:
        yield server


def _followed(server: RudeWeb) -> int:
    return follow(JobSubmissionClient(f"http://{server.host}"), JOB, lambda _: None)


def test_a_job_is_followed_by_a_dashboard_that_is_away_for_a_while(
    dashboard: Dashboard, server: RudeWeb
):
    dashboard.says(*[_drops] * 3, RUNNING, _drops, STARTING, A_PAGE, RUNNING, _drops, ENDED)
    assert _followed(server) == 3


@pytest.mark.parametrize("log", [_drops, STARTING, A_PAGE])
def test_a_log_that_breaks_off_does_not_end_the_following(
    dashboard: Dashboard, server: RudeWeb, log: Answer
):
    dashboard.log = log
    dashboard.says(RUNNING, _job("SUCCEEDED", 0))
    assert _followed(server) == 0


def test_a_job_without_an_exit_code_ends_with_one(dashboard: Dashboard, server: RudeWeb):
    dashboard.says(_job("STOPPED"))
    assert _followed(server) == 1


def test_a_dashboard_that_never_answers_is_given_up_in_words(
    dashboard: Dashboard, server: RudeWeb, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scheduled_job, "_SILENT_FOR_S", 0.3)
    dashboard.says(RUNNING, _drops)
    with pytest.raises(ClusterSilent, match=rf"{JOB}.*no answer for.*may go on.*ray job status"):
        _followed(server)


def test_each_answer_begins_the_wait_anew(
    dashboard: Dashboard, server: RudeWeb, monkeypatch: pytest.MonkeyPatch
):
    clock = iter(range(1_000_000))
    monkeypatch.setattr(scheduled_job, "monotonic", lambda: next(clock))
    monkeypatch.setattr(scheduled_job, "_SILENT_FOR_S", 3)
    dashboard.says(*[_drops, _drops, RUNNING] * 4, ENDED)
    assert _followed(server) == 3


def test_a_dashboard_that_takes_a_question_and_is_silent_is_asked_again(
    dashboard: Dashboard, server: RudeWeb, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scheduled_job, "_ANSWERS_WITHIN_S", 0.2)
    over = threading.Event()
    dashboard.says(lambda *_: over.wait(30), ENDED)
    try:
        assert _followed(server) == 3
    finally:
        over.set()


def test_a_command_whose_cluster_falls_silent_ends_with_2_and_says_which_job_may_go_on(
    dashboard: Dashboard,
    server: RudeWeb,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(scheduled_job, "_SILENT_FOR_S", 0.0)
    dashboard.says(_drops)
    assert main("nightly", f"http://{server.host}", "true") == 2
    said = capsys.readouterr().err
    assert f"{JOB}: its cluster gave no answer" in said
    assert "Traceback" not in said


def test_a_command_ends_with_the_exit_code_of_its_job(dashboard: Dashboard, server: RudeWeb):
    dashboard.says(_drops, RUNNING, ENDED)
    assert main("nightly", f"http://{server.host}", "true") == 3
