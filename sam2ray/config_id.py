"""A config -> what tells its results from those of others, and the text that is kept with them."""

from __future__ import annotations

import json
from functools import reduce
from operator import getitem
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from .config import JobConfig
from .config_section import changes_results, settings_of
from .config_yaml import write_yaml
from .records import SCHEMA_VERSION, digest

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_id(config: JobConfig, weights_sha256: str, head_sha256: str | None = None) -> str:
    """What tells results of this config from all others; 32 hex digits.

    `weights_sha256` is that of the checkpoint, wherever it lies.
    `head_sha256` is that of the head of classes, in the mode that has one.
    """
    major = SCHEMA_VERSION.partition(".")[0]
    settings = result_settings(config)
    head = {} if head_sha256 is None else {"head": head_sha256}
    return digest({"schema": major, "weights": weights_sha256, "settings": settings, **head})


def differing_keys(a: JobConfig, b: JobConfig) -> list[str]:
    """The settings in which two configs differ so that their results do."""
    own, others = result_settings(a), result_settings(b)
    names = dict.fromkeys((*own, *others))
    return [name for name in names if own.get(name) != others.get(name)]


def result_settings(config: JobConfig) -> dict[str, Any]:
    """What changes results, by dotted names; what a model decides is filled in."""
    content = kept_settings(config)
    values = {
        ".".join(path): reduce(getitem, path, content)
        for path, field in settings_of(JobConfig)
        # What came with a mode of its own changes nothing in the others, nor their ids.
        if changes_results(field) and (path[0] != "semantic" or config.mode == "semantic")
    }
    row = config.model.row()
    masks = config.masks.auto_mask_config(row)
    return values | {
        "model.image_size": row.image_size,
        "masks.points_per_side": masks.points_per_side,
        "masks.pred_iou_thresh": masks.pred_iou_thresh,
        "masks.stability_score_thresh": masks.stability_score_thresh,
    }


def kept_settings(config: JobConfig) -> dict[str, Any]:
    """All settings as plain values, without storage and without secrets in addresses."""
    return config.model_dump(mode="json")


def resolved_yaml(config: JobConfig) -> str:
    """The same as a config file."""
    return write_yaml(kept_settings(config))


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of config files, for editors.

    Nothing is required in it: what a file leaves out may stand on the command line.
    """
    schema = JobConfig.model_json_schema(schema_generator=_Untitled)
    for part in (schema, *schema["$defs"].values()):
        part.pop("required", None)
    return {"$schema": _DIALECT, **schema, "title": "sam2ray job"}


def schema_text() -> str:
    """The JSON Schema as configs/schema.json has it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


class _Untitled(GenerateJsonSchema):
    """Without titles that repeat names."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - of the base class
        return False
