"""What a job may be told: limits, what contradicts itself, what is secret, what changes results."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sam2_core import RELEASED, AutoMaskConfig, TrackingConfig
from sam2ray.config import JobConfig, Masks, Mode
from sam2ray.config_file import config_of
from sam2ray.config_id import (
    config_id,
    differing_keys,
    json_schema,
    resolved_yaml,
    result_settings,
)
from sam2ray.config_section import changes_results, public_uri, settings_of
from sam2ray.config_storage import S3, Storage

WEIGHTS = "ab" * 32
HUSH = "HUSH-HUSH"

SETTINGS = {".".join(path): field for path, field in settings_of(JobConfig)}

# Another value for each setting that a rule below cannot guess.
OTHERS = {
    "masks.points_per_side": 7,
    "mode": "embed",
    "source.uri": ["s3://other"],
    "source.keep": ["label"],
    "source.uri_column": "where",
    "source.bytes_column": "jpeg",
    "output.uri": "s3://other",
    "output.compression": "snappy",
    "model.name": "sam2.1_hiera_large",
    "model.checkpoint": "other.pt",
    "model.image_size": 512,
    "masks.point_grids": None,  # see test_grids_of_ones_own_change_results
    "prompts.coordinates": "pixels",
    "prompts.uri_column": "where",
    "prompts.box_format": "xywh",
    "prompts.use": ["box"],
    "decode.video.fps": 2.5,
    "decode.video.max_frames": 5,
    "decode.video.max_duration_s": 5.0,
    "decode.max_side": 100,
    "resources.gpus_per_actor": 0.5,
    "resources.actors": 3,
    "resources.threads_per_actor": 3,
    "resources.decode_memory_bytes": 5,
    "resources.accelerator_type": "H100",
    "resources.label_selector": {"zone": "a"},
    "masks.pred_iou_thresh": 0.5,
    "masks.stability_score_thresh": 0.5,
    "prompts.file": None,  # see test_the_place_of_prompts_changes_nothing
    "semantic.head": None,  # see test_the_place_of_a_head_changes_nothing_and_its_content_does
    "semantic.skip": ["sky"],
}

CHANGEABLE = [
    path
    for path in SETTINGS
    if not path.startswith("storage.") and OTHERS.get(path, "guess") is not None
]


def nested(path: str, value: object) -> dict[str, object]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def merged(a: Mapping[str, object], b: Mapping[str, object]) -> dict[str, object]:
    both = dict(a)
    for name, value in b.items():
        inner = both.get(name)
        both[name] = (
            merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return both


def job(**changes: object) -> JobConfig:
    values: dict[str, object] = {"source": {"uri": "in"}, "output": {"uri": "out"}}
    for path, value in changes.items():
        values = merged(values, nested(path.replace("__", "."), value))
    return JobConfig.model_validate(values)


def refused(**changes: object) -> str:
    with pytest.raises(ValidationError) as caught:
        job(**changes)
    return str(caught.value)


def another_value(path: str, field: FieldInfo) -> object:
    if path in OTHERS:
        return OTHERS[path]
    default = field.get_default(call_default_factory=True)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default / 2 or 0.5
    choices = [choice for choice in get_args(field.annotation) if choice not in (default, None)]
    assert choices, f"{path}: write another value into OTHERS"
    return choices[0]


# ---------------------------------------------------------------- every setting


@pytest.mark.parametrize("path", SETTINGS)
def test_every_setting_is_described_and_decided(path):
    field = SETTINGS[path]
    assert changes_results(field) in (True, False)
    assert field.description
    assert field.description.endswith(".")


def test_every_section_is_described():
    def sections(kind: type[BaseModel]):
        yield kind
        for field in kind.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from sections(field.annotation)

    assert all(section.__doc__ for section in sections(JobConfig))


@pytest.mark.parametrize("path", CHANGEABLE)
def test_a_setting_changes_the_config_id_just_if_it_is_marked_so(path):
    needed = {"mode": "semantic", "semantic.head": "head"} if path == "semantic.skip" else {}
    base, other = job(**needed), job(**{**needed, path: another_value(path, SETTINGS[path])})
    assert base != other
    changes = config_id(base, WEIGHTS) != config_id(other, WEIGHTS)
    assert changes == changes_results(SETTINGS[path])
    if path == "model.name":
        return  # it may bring other defaults along
    assert differing_keys(base, other) == ([path] if changes else [])


def test_grids_of_ones_own_change_results():
    own = job(masks__points_per_side=None, masks__point_grids=[[[0.25, 0.5], [0.75, 0.5]]])
    other = job(masks__points_per_side=None, masks__point_grids=[[[0.25, 0.25], [0.75, 0.5]]])
    assert differing_keys(own, other) == ["masks.point_grids"]
    assert differing_keys(job(), own) == ["masks.points_per_side", "masks.point_grids"]


def test_the_place_of_prompts_changes_nothing():
    here = job(mode="prompt", prompts__file="a.json")
    there = job(mode="prompt", prompts__file="s3://bucket/a.json")
    assert config_id(here, WEIGHTS) == config_id(there, WEIGHTS)


def test_the_place_of_a_head_changes_nothing_and_its_content_does():
    here = job(mode="semantic", semantic__head="a.safetensors")
    there = job(mode="semantic", semantic__head="s3://bucket/a.safetensors")
    ids = [config_id(one, WEIGHTS, head) for one in (here, there) for head in (WEIGHTS, "cd" * 32)]
    assert ids[:2] == ids[2:]
    assert ids[0] != ids[1]


def test_a_head_is_asked_for_in_its_mode_and_in_no_other():
    assert "semantic.head is missing" in refused(mode="semantic").replace("\n  ", " ")
    assert "is not read in mode embed" in refused(mode="embed", semantic__head="a.safetensors")


@pytest.mark.parametrize("option", ["endpoint_url", "region", "profile", "key", "secret", "token"])
def test_how_a_store_is_reached_changes_nothing(option):
    assert config_id(job(storage={"s3": {option: HUSH}}), WEIGHTS) == config_id(job(), WEIGHTS)


def test_what_changes_results_is_what_the_design_names():
    marked = {path for path, field in SETTINGS.items() if changes_results(field)}
    assert {"mode", "model.precision", "decode.mode", "output.max_masks_per_unit"} <= marked
    assert {path.partition(".")[0] for path in marked} == {
        *("mode", "output", "model", "masks", "prompts", "tracking", "discover", "semantic"),
        "decode",
    }
    for section in ("source", "fetch", "resources", "limits", "storage"):
        assert not any(path.startswith(f"{section}.") for path in marked)
    assert not {"output.commit_every_units", "output.uri", "model.compile"} & marked


# ---------------------------------------------------------------- config_id


def test_a_config_id_is_32_hex_digits_that_stay():
    found = config_id(job(), WEIGHTS)
    assert re.fullmatch("[0-9a-f]{32}", found)
    assert found == config_id(job(), WEIGHTS)


def test_other_weights_make_another_config_id():
    assert config_id(job(), WEIGHTS) != config_id(job(), "cd" * 32)


def test_another_major_version_of_the_schema_makes_another_config_id(monkeypatch):
    before = config_id(job(), WEIGHTS)
    monkeypatch.setattr("sam2ray.config_id.SCHEMA_VERSION", "1.7")
    assert config_id(job(), WEIGHTS) == before
    monkeypatch.setattr("sam2ray.config_id.SCHEMA_VERSION", "2.0")
    assert config_id(job(), WEIGHTS) != before


def test_writing_down_what_the_model_would_choose_changes_nothing():
    row = RELEASED["nano"]
    chosen = job(
        model__name="nano",
        model__image_size=row.image_size,
        masks__pred_iou_thresh=row.pred_iou_thresh,
        masks__stability_score_thresh=row.stability_score_thresh,
    )
    assert differing_keys(job(model__name="nano"), chosen) == []


def test_another_model_shows_with_the_defaults_it_brings():
    keys = differing_keys(job(), job(model__name="nano"))
    assert keys == [
        *("model.name", "model.image_size", "masks.points_per_side"),
        *("masks.pred_iou_thresh", "masks.stability_score_thresh"),
    ]


def test_the_values_that_are_digested_are_plain():
    kinds = {type(value) for value in result_settings(job()).values()}
    assert kinds <= {str, int, float, bool, type(None), list}


# ---------------------------------------------------------------- the core's settings


@pytest.mark.parametrize("name", RELEASED)
def test_masks_are_found_as_suits_the_model(name):
    config = job(model__name=name)
    found = config.masks.auto_mask_config(config.model.row())
    assert found == AutoMaskConfig.for_model(RELEASED[name])


def test_thresholds_of_ones_own_win_over_the_models():
    config = job(model__name="nano", masks__pred_iou_thresh=0.25, masks__use_m2m=True)
    found = config.masks.auto_mask_config(config.model.row())
    assert (found.pred_iou_thresh, found.use_m2m) == (0.25, True)
    assert found.stability_score_thresh == RELEASED["nano"].stability_score_thresh


def test_grids_of_ones_own_take_the_place_of_the_models():
    given = {"masks__point_grids": [[[0.5, 0.5], [0.1, 0.2]]]}
    for name in ("nano", "sam2.1_hiera_tiny"):
        config = job(model__name=name, **given)
        found = config.masks.auto_mask_config(config.model.row())
        assert (found.points_per_side, len(found.grids()[0])) == (None, 2)


def test_masks_have_the_names_and_defaults_of_the_core():
    core, own = AutoMaskConfig(), Masks()
    for name in Masks.model_fields:
        if name not in ("points_per_side", "pred_iou_thresh", "stability_score_thresh"):
            assert getattr(own, name) == getattr(core, name), name
    missing = {*AutoMaskConfig.__dataclass_fields__} - {*Masks.model_fields}
    assert missing == {"output_mode"}  # rows always carry COCO run lengths


def test_tracking_is_the_cores_but_for_its_bounds():
    found = job().tracking.tracking_config()
    assert found == TrackingConfig(max_cond_frames_in_attn=8)
    changed = job(tracking__fill_hole_area=0, tracking__non_overlap_masks=True)
    assert changed.tracking.tracking_config() == TrackingConfig(
        max_cond_frames_in_attn=8, fill_hole_area=0, non_overlap_masks=True
    )


def test_a_model_of_another_size_is_a_row_of_that_size():
    assert job().model.row() is RELEASED["sam2.1_hiera_tiny"]
    assert job(model__image_size=512).model.row().image_size == 512


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"masks__points_per_side": 4, "masks__point_grids": [[[0.5, 0.5]]]},
            "exactly one of points_per_side and point_grids.*set points_per_side=null",
        ),
        (
            {"masks__points_per_side": None, "masks__point_grids": []},
            "0 point_grids for crop_n_layers=0",
        ),
        ({"masks__points_per_side": None, "masks__point_grids": [[]]}, r"point_grids\[0\] must be"),
    ],
)
def test_what_the_core_refuses_is_an_error_of_the_config(changes, words):
    found = refused(**changes)
    assert re.search(words, found)
    assert "AutoMaskConfig" not in found
    assert "None" not in found


# ---------------------------------------------------------------- limits and contradictions


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mode", "Auto"),
        ("source__uri", []),
        ("source__uri", ""),
        ("source__uri", "a\0b"),
        ("source__uri", "\udc80"),
        ("source__kind", "zip"),
        ("output__max_masks_per_unit", 0),
        ("output__commit_every_units", 2.0),
        ("output__commit_every_units", True),
        ("model__name", "nanno"),
        ("model__image_size", 100),
        ("model__image_size", 0),
        ("model__precision", "fp8"),
        ("masks__pred_iou_thresh", 1.01),
        ("masks__mask_threshold", float("nan")),
        ("masks__point_grids", [[[0.5, 1.5]]]),
        ("tracking__max_cond_frames_in_attn", -1),
        ("tracking__max_cond_frames_in_attn", 1),
        ("tracking__direction", "Forward"),
        ("discover__new_below_iou", -0.1),
        ("decode__max_bytes", "1"),
        ("decode__max_aspect_ratio", 0.5),
        ("decode__video__fps", 0),
        ("decode__video__every_nth", 0),
        ("fetch__timeout_s", float("inf")),
        ("fetch__attempts", 0),
        ("resources__actors", "all"),
        ("resources__actors", 0),
        ("resources__gpus_per_actor", 1.5),
        ("resources__label_selector", {"a": 1}),
        ("limits__max_failed_fraction", 2),
        ("limits__unit_timeout_s", 0),
        ("fetch", None),
        ("fetch", "fast"),
        ("surprise", 1),
        ("decode__video__surprise", 1),
        ("storage__s3__surprise", 1),
        ("storage__nowhere", {}),
        ("storage__gs", "x"),
    ],
)
def test_a_value_out_of_bounds_is_refused(path, value):
    refused(**{path: value})


def test_an_integer_is_a_number_and_a_list_a_tuple():
    config = job(limits__unit_timeout_s=5, source__uri=["a", "b"], source__keep="id")
    assert config.limits.unit_timeout_s == 5.0
    assert config.source.uri == ("a", "b")
    assert config.source.keep == ("id",)


def test_a_config_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        job().decode.mode = "exact"


def test_fps_and_every_nth_exclude_each_other():
    assert "not both" in refused(decode__video__fps=2.0, decode__video__every_nth=2)
    job(decode__video__fps=2.0, decode__video__every_nth=1)


def test_sides_leave_room():
    assert "min_side=20 is above max_side=10" in refused(decode__min_side=20, decode__max_side=10)


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"mode": "prompt", "prompts__file": "a.parquet"}, "prompts.coordinates", "normalized"),
        ({"mode": "track", "prompts__format": "columns"}, "prompts.coordinates", "is missing"),
        ({"mode": "prompt", "prompts__format": "coco"}, "prompts.file", "format coco"),
        (
            {"mode": "track", "prompts__format": "columns", "prompts__file": "a"},
            "prompts.file",
            "not read where format is columns",
        ),
        ({"mode": "auto", "prompts__file": "a.json"}, "prompts.file", "prompt or track"),
        (
            {"mode": "prompt", "prompts__uri_column": "name", "prompts__coordinates": "pixels"},
            "prompts.uri_column",
            "source.uri_column",
        ),
        (
            {"mode": "auto_track", "tracking__direction": "both"},
            "tracking.direction",
            "must be forward",
        ),
        ({"mode": "prompt", "prompts__use": []}, "prompts.use", "at least 1"),
        ({"mode": "prompt", "prompts__use": ["boxes"]}, "prompts.use", "'box'"),
        (
            {"model__device": "cpu", "resources__gpus_per_actor": 1},
            "resources.gpus_per_actor",
            "0 or auto",
        ),
        (
            {"model__device": "cuda", "resources__gpus_per_actor": 0},
            "resources.gpus_per_actor",
            "above 0",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, place, words):
    found = refused(**changes)
    assert place in found
    assert words in found


@pytest.mark.parametrize(
    "changes",
    [
        {"prompts__file": "boxes.json"},  # COCO counts in pixels
        {"prompts__file": "s3://b/masks", "prompts__format": "davis"},
        {"prompts__file": "boxes.parquet", "prompts__coordinates": "normalized"},
        {"prompts__format": "columns", "prompts__coordinates": "pixels"},
        {"prompts__file": "folder"},  # nobody knows yet what is in it
        {},
    ],
)
def test_prompts_that_say_what_they_count_in_are_fine(changes):
    job(mode="prompt", **changes)


def test_all_contradictions_are_said_at_once():
    found = refused(
        mode="prompt",
        prompts__format="parquet",
        model__device="cpu",
        resources__gpus_per_actor=1,
    )
    places = ("prompts.file", "prompts.coordinates", "resources.gpus_per_actor")
    assert all(place in found for place in places)


def test_jobs_are_bounded_by_default():
    config = job()
    assert config.tracking.max_cond_frames_in_attn == 8
    assert config.tracking.max_objects == 64
    assert config.discover.retire_after_absent_frames == 300
    assert config.output.commit_every_units == 256
    assert (config.limits.max_attempts, config.limits.stop_window) == (3, 200)
    assert config.limits.wave_units == 1_000_000


@pytest.mark.parametrize("mode", get_args(Mode))
def test_every_mode_runs_with_defaults(mode):
    head = {"semantic__head": "a.safetensors"} if mode == "semantic" else {}
    assert job(mode=mode, **head).mode == mode


# ---------------------------------------------------------------- secrets


SECRETIVE = {
    "s3": {
        **dict.fromkeys(("endpoint_url", "region", "profile", "key", "secret", "token"), HUSH),
        "client_kwargs": {"verify": HUSH},
    },
    "gs": {"token": {"private_key": HUSH}},
}


def test_no_value_of_storage_is_shown_or_written():
    config = job(storage=SECRETIVE)
    shown = (
        *(str(config), repr(config), repr(config.storage), str(config.storage.s3)),
        *(f"{config.storage}", resolved_yaml(config), config.model_dump_json()),
        *(repr(config.model_dump()), repr([*config.__rich_repr__()])),
    )
    for text in shown:
        assert HUSH not in text


def test_what_is_set_of_storage_is_shown_by_name():
    assert repr(Storage(s3=S3(key=HUSH))) == "Storage(s3=***)"
    assert repr(S3(key=HUSH, secret=HUSH)) == "S3(key=***, secret=***)"


@pytest.mark.parametrize(
    "storage",
    [
        HUSH,
        {"s3": HUSH},
        {"s3": {"key": [HUSH]}},
        {"s3": {"anon": HUSH}},
        {"s3": {"surprise": HUSH}},
        {"s3": {"client_kwargs": HUSH}},
        {"gs": HUSH},
        {"nowhere": {"key": HUSH}},
        {"http": {"hosts": HUSH}},
        {"http": {"hosts": [HUSH, 5]}},
        {"http": {"hosts": [f"https://{HUSH}"]}},
        {"http": {"client_kwargs": {"headers": {"X-Key": HUSH}}}},
    ],
)
def test_an_error_of_storage_does_not_show_what_was_written(storage):
    assert HUSH not in refused(storage=storage)


def test_headers_are_for_hosts_that_are_named():
    headers = {"client_kwargs": {"headers": {"X-Key": HUSH}}}
    assert "say https.hosts=[data.example.org]" in refused(storage={"https": headers})
    named = {"http": {**headers, "hosts": ["data.example.org"]}}
    assert job(storage=named).storage.options() == named


def test_options_of_storage_are_what_file_systems_take():
    options = job(storage=SECRETIVE).storage.options()
    assert options["s3"] == {
        **dict.fromkeys(("endpoint_url", "profile", "key", "secret", "token"), HUSH),
        "client_kwargs": {"region_name": HUSH, "verify": HUSH},
    }
    assert options["s3a"] == options["s3"]
    assert options["gs"] == {"token": {"private_key": HUSH}}
    assert job().storage.options() == {}
    assert job(storage={"s3": {"anon": True}}).storage.options()["s3"] == {"anon": True}


def test_a_config_goes_to_other_processes_with_its_secrets():
    config = job(storage=SECRETIVE)
    arrived = pickle.loads(pickle.dumps(config))
    assert arrived == config
    assert arrived.storage.options() == config.storage.options()


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("s3://bucket/a", "s3://bucket/a"),
        ("/data/what?.jpg", "/data/what?.jpg"),
        ("https://me:HUSH-HUSH@host/a", "https://***@host/a"),
        ("https://me:HUSH@HUSH@host/a@b", "https://***@host/a@b"),
        ("https://host/a?X-Amz-Signature=HUSH-HUSH", "https://host/a?***"),
        ("zip://a::https://me:HUSH-HUSH@host/a", "zip://a::https://***@host/a"),
    ],
)
def test_addresses_are_shown_without_passwords_and_signatures(uri, public):
    assert public_uri(uri) == public
    config = job(source__uri=["a", uri], model__checkpoint=uri)
    for text in (repr(config), str(config), resolved_yaml(config)):
        assert "HUSH" not in text
        assert public in text
    assert config.source.uri == ("a", uri)


# ---------------------------------------------------------------- the text that is kept


@pytest.mark.parametrize("path", CHANGEABLE)
def test_the_resolved_text_reads_back_as_the_same_config(path):
    config = job(**{path: another_value(path, SETTINGS[path])})
    assert config_of(resolved_yaml(config), "config.yaml") == config


def test_the_resolved_text_keeps_grids_and_odd_names():
    config = job(
        masks__points_per_side=None,
        masks__point_grids=[[[0.1, 1e-7]]],
        source__uri=["1e3", "off", "null", "2024-01-01", " a: b # c", "é\x85\n\t\u2028😀"],
        resources__label_selector={"ray.io/zone": "1_000"},
    )
    assert config_of(resolved_yaml(config), "config.yaml") == config


def test_the_resolved_text_is_the_same_each_time_and_says_everything_but_storage():
    text = resolved_yaml(job())
    assert text == resolved_yaml(job())
    names = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert names == [name for name in JobConfig.model_fields if name != "storage"]


def test_the_schema_describes_each_setting_for_editors():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate({})
    validator.validate({"source": {"uri": "s3://b"}, "storage": {"gs": {"token": "x"}}})
    for wrong in ({"decode": {"mod": 1}}, {"mode": "x"}, {"limits": {"unit_timeout_s": -3}}):
        assert not validator.is_valid(wrong)
    leaves = [p for part in schema["$defs"].values() for p in part.get("properties", {}).values()]
    settings = [leaf for leaf in leaves if "$ref" not in leaf]
    assert all(setting["description"] for setting in settings)
    assert all(isinstance(setting["changes_results"], bool) for setting in settings)
