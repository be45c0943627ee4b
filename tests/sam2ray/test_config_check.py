"""All that is wrong with settings is said in one go, and nothing that another word may mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2ray.config_file import load_config
from sam2ray.errors import UsageError


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is said of a job.yaml, and of words on the command line."""
    monkeypatch.chdir(tmp_path)

    def said(text: str, *assignments: str, also: tuple[str, ...] = (), **options: object):
        (tmp_path / "job.yaml").write_text(text)
        ends = {"source": "in", "output": "out"}
        with pytest.raises(UsageError) as caught:
            load_config(["job.yaml", *also], assignments, **{**ends, **options})
        return str(caught.value).split("\n")

    return said


def test_faults_of_every_kind_and_place_come_together(said):
    found = said(
        """\
mode: auto
prompts:
  file: boxes.json
model: {naem: nano, device: cpu}
resources:
  gpus_per_actor: 1
  actors: many
decode:
  max_side: 5
  mode: exat
  min_side: 10
  video:
    fps: 2
    every_nth: 3
masks:
  points_per_batch: 0
  points_per_side: null
fetch: {attempts: 0}
fetch: {threads: 0}
""",
        "limits.max_attempts=0",
        "storage.s3.secrte=x",
        "tracking",
        also=("missing",),
    )
    assert [line.partition(";")[0] for line in found] == [
        "job.yaml:19: fetch is written a second time",
        "missing is neither a file nor a shipped config",
        "--set tracking: write setting=value, as in decode.mode=exact",
        "job.yaml:4: model.naem is not a setting",
        "job.yaml:7: resources.actors=many: must be an integer or 'auto'",
        "job.yaml:10: decode.mode=exat: must be 'rounded', 'exact' or 'scaled'",
        "job.yaml:16: masks.points_per_batch=0: must be at least 1",
        "job.yaml:18: fetch.attempts=0: must be at least 1",
        "--set limits.max_attempts=0: must be at least 1",
        "--set storage.s3.secrte is not a setting",
    ]


def test_contradictions_are_said_beside_values_that_are_wrong(said):
    found = said(
        """\
mode: auto
prompts:
  file: boxes.json
model: {naem: nano, device: cpu}
resources:
  gpus_per_actor: 1
  actors: many
decode:
  max_side: 5
  mode: exat
  min_side: 10
  video:
    fps: 2
    every_nth: 3
masks:
  points_per_batch: 0
  points_per_side: 4
  point_grids: [[[0.5, 0.5]]]
""",
        source=None,
    )
    assert found == [
        "job.yaml:3: prompts.file is not read in mode auto: write prompt or track",
        "job.yaml:4: model.naem is not a setting; did you mean model.name?",
        "job.yaml:6: resources.gpus_per_actor must be 0 or auto where model.device is cpu",
        "job.yaml:7: resources.actors=many: must be an integer or 'auto'",
        "job.yaml:10: decode.mode=exat: must be 'rounded', 'exact' or 'scaled'; "
        "did you mean exact?",
        "job.yaml:11: decode: min_side=10 is above max_side=5",
        "job.yaml:14: decode.video: give every_nth or fps, not both; set fps to null or every_nth "
        "to 1",
        "job.yaml:16: masks.points_per_batch=0: must be at least 1",
        "job.yaml:18: masks: Give exactly one of points_per_side and point_grids; to use grids of "
        "your own, set points_per_side=null.",
        "source.uri is missing: write it in a config or on the command line",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mode: aoto\nprompts: {file: a.json}", "job.yaml:1: mode=aoto: must be"),
        ("decode: {min_side: 9, max_side: x}", "job.yaml:1: decode.max_side=x: must be"),
        ("masks: {points_per_side: x, point_grids: [[[0, 0]]]}", "job.yaml:1: masks.points_per"),
        ("mode: track\nprompts: {format: parqet}", "job.yaml:2: prompts.format=parqet: must be"),
        ("model: {device: cpu}\nresources: 1", "job.yaml:2: resources=1: must be a section"),
        ("model: cpu\nresources: {gpus_per_actor: 1}", "job.yaml:1: model=cpu: must be a section"),
    ],
)
def test_a_value_that_is_wrong_contradicts_nothing(said, text: str, fault: str):
    (found,) = said(text)
    assert found.startswith(fault)


def test_a_source_that_is_wrong_is_not_called_missing(said):
    (found,) = said("source: 3", source=None)
    assert found.startswith("job.yaml:1: source=3: must be a section")
    (found,) = said("source: {uri: [3]}", source=None)
    assert found.startswith("job.yaml:1: source.uri[0]=3: must be text")


# ---------------------------------------------------------------- what cannot be read


def test_a_section_that_is_no_yaml_hides_no_fault_of_its_neighbours(said):
    found = said(
        """\
mode: prompts
model: {name: nano
decode:
  mode: exat
fetch:
\tattempts: 3
limits: {max_attempts: 0}
mode: auto
tracking: *base
"""
    )
    assert [line.partition(";")[0] for line in found] == [
        "job.yaml:3: expected ',' or '}', but got '<stream end>'",
        "job.yaml:6: found a tab: use spaces",
        "job.yaml:8: mode is written a second time",
        "job.yaml:9: aliases (*name) are not read",
        "job.yaml:1: mode=prompts: must be "
        "'auto', 'prompt', 'track', 'auto_track', 'embed' or 'semantic'",
        "job.yaml:4: decode.mode=exat: must be 'rounded', 'exact' or 'scaled'",
        "job.yaml:7: limits.max_attempts=0: must be at least 1",
    ]


def test_what_could_not_be_read_may_mend_a_contradiction(said):
    prompts = "prompts: {file: a.json}\n"
    (found,) = said(prompts + "mode: [prompt\n")
    assert found.startswith("job.yaml:3: expected ',' or ']'")
    assert len(said(prompts, "mode")) == 1
    assert len(said(prompts, also=("missing",))) == 1
    assert len(said("model: [\n" + prompts)) == 2, "the mode is known all the same"


def test_what_was_written_later_is_known_whatever_could_not_be_read(said, tmp_path: Path):
    (tmp_path / "later.yaml").write_text("mode: auto\nprompts: {file: a.json}\n")
    first, second = said("mode: [\n", also=("missing", "later.yaml"))[1:]
    assert first.startswith("missing is neither a file nor")
    assert second == "later.yaml:2: prompts.file is not read in mode auto: write prompt or track"


def test_text_that_is_wrong_as_a_whole_is_said_once(said):
    for text in ("mode: auto\n---\nmode: embed\n", "- a\nmode: auto\nfetch: {}\n"):
        assert len(said(text)) == 1


def test_what_follows_a_secret_without_an_end_is_not_read(said):
    found = said("storage:\n  s3:\n    secret: 'HUSH\nmode: HUSH\nHUSH: 3\n")
    assert len(found) == 1
    assert "HUSH" not in found[0]
