"""What users write: files, --set and options; and how they learn what is wrong with it."""

from __future__ import annotations

import math
import random
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2ray.config_file import config_of, load_config
from sam2ray.config_yaml import MAX_CHARACTERS, read_value, read_yaml, scalar, write_yaml
from sam2ray.errors import UsageError

HUSH = "HUSH-HUSH"
ENDS = {"source": "in", "output": "out"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write job.yaml (or another file) into the current folder."""
    monkeypatch.chdir(tmp_path)

    def to_file(text, name="job.yaml"):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return name

    return to_file


def faults(*arguments, **options):
    with pytest.raises(UsageError) as caught:
        load_config(*arguments, **{**ENDS, **options})
    return str(caught.value).split("\n")


def faults_of_sets(*assignments):
    return faults(None, assignments)


# ---------------------------------------------------------------- what wins


def test_nothing_written_gives_the_defaults():
    config = load_config(**ENDS)
    assert (config.source.uri, config.output.uri, config.mode) == (("in",), "out", "auto")


def test_a_file_says_all_it_has_to(write):
    write("source: {uri: in}\noutput:\n  uri: out\nmode: embed\ndecode:\n  mode: exact\n")
    config = load_config("job.yaml")
    assert (config.mode, config.decode.mode) == ("embed", "exact")


def test_later_words_win_and_sections_add_up(write):
    write("decode: {mode: exact, max_side: 100}\nmode: embed\nfetch: {threads: 2}\n", "a.yaml")
    write("decode: {mode: scaled, min_side: 9}\nmode: auto_track\n", "b.yaml")
    config = load_config(["a.yaml", "b.yaml"], ["decode.min_side=10"], mode="auto", **ENDS)
    assert (config.decode.mode, config.decode.max_side) == ("scaled", 100)
    assert (config.decode.min_side, config.mode, config.fetch.threads) == (10, "auto", 2)


def test_a_list_is_replaced_and_not_added_to(write):
    write("source: {uri: [a, b, c], keep: [x]}")
    config = load_config("job.yaml", ["source.keep=[y]"], source=["d"], output="out")
    assert (config.source.uri, config.source.keep) == (("d",), ("y",))


def test_names_of_a_mapping_add_up(write):
    write("resources: {label_selector: {a: x}}\nstorage: {gs: {token: t}}\n")
    config = load_config("job.yaml", ["resources.label_selector={b.c/d: y}"], **ENDS)
    assert config.resources.label_selector == {"a": "x", "b.c/d": "y"}
    assert config.storage.options() == {"gs": {"token": "t"}}


def test_a_section_of_comments_alone_is_all_defaults(write):
    write("decode:\n  # mode: exact\nfetch: {}\nstorage:\n  s3:\n")
    assert load_config("job.yaml", ["fetch="], **ENDS) == load_config(**ENDS)


def test_an_empty_file_is_all_defaults(write):
    for text in ("", "# nothing\n", "---\n", "null"):
        assert load_config(write(text), **ENDS) == load_config(**ENDS)


def test_options_that_are_not_given_change_nothing(write):
    write("mode: embed\nmodel: {name: nano}\n")
    config = load_config("job.yaml", mode=None, model=None, checkpoint=None, keep=None, **ENDS)
    assert (config.mode, config.model.name) == ("embed", "nano")


def test_options_set_what_they_are_called_after(tmp_path):
    config = load_config(
        mode="prompt",
        model="nano",
        checkpoint=tmp_path / "w.pt",
        prompts="p.json",
        keep=["id"],
        **{"model.device": "cpu"},
        **ENDS,
    )
    assert (config.model.name, config.model.checkpoint) == ("nano", str(tmp_path / "w.pt"))
    assert (config.prompts.file, config.source.keep) == ("p.json", ("id",))
    assert config.model.device == "cpu"


# ---------------------------------------------------------------- --set


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("model.checkpoint=a=b", "a=b"),
        ("model.checkpoint=s3://b/k?x=1#y", "s3://b/k?x=1#y"),
        ("model.checkpoint= a b # c ", "a b # c"),
        ("model.checkpoint=@`%&*!", "@`%&*!"),
        ("model.checkpoint='12'", "12"),
        ('model.checkpoint="[1"', "[1"),
        ("model.checkpoint=off", "off"),
        ("model.checkpoint=007", "007"),
        ("model.checkpoint=null", None),
        ("model.checkpoint=~", None),
        ("model.checkpoint=", None),
        ("model.checkpoint=é", "é"),
    ],
)
def test_set_takes_text_as_it_stands(assignment, value):
    assert load_config(None, [assignment], **ENDS).model.checkpoint == value


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("limits.unit_timeout_s=5", 5.0),
        ("limits.unit_timeout_s=5e-1", 0.5),
        ("limits.unit_timeout_s=1_000.0", None),
        ("limits.unit_timeout_s=1_000", 1000.0),
        ("limits.unit_timeout_s=.5", 0.5),
    ],
)
def test_set_takes_numbers(assignment, value):
    if value is None:
        assert "must be a number" in faults_of_sets(assignment)[0]
    else:
        assert load_config(None, [assignment], **ENDS).limits.unit_timeout_s == value


def test_set_takes_lists_and_mappings():
    assignments = ["source.uri=[a, 'b c']", "decode={mode: exact, video: {fps: 2}}"]
    config = load_config(None, assignments, output="out")
    assert config.source.uri == ("a", "b c")
    assert (config.decode.mode, config.decode.video.fps) == ("exact", 2.0)


def test_an_empty_mapping_is_a_section_without_words_and_no_other_value(write):
    write("mode: embed\ndecode:\n  mode: wrong\n")
    assert faults("job.yaml", ["decode={}", "mode={}"]) == [
        "job.yaml:3: decode.mode=wrong: must be 'rounded', 'exact' or 'scaled'",
        "--set mode={}: must be 'auto', 'prompt', 'track', 'auto_track', 'embed' or 'semantic'",
    ]


def test_the_last_set_wins():
    assignments = ["decode={mode: exact, max_side: 5}", "decode.mode=scaled"]
    config = load_config(None, assignments, **ENDS)
    assert (config.decode.mode, config.decode.max_side) == ("scaled", 5)


@pytest.mark.parametrize(
    ("assignment", "fault"),
    [
        ("decode.mod=exact", "--set decode.mod is not a setting; did you mean decode.mode?"),
        ("decod.mode=exact", "--set decod is not a setting; did you mean decode?"),
        ("unit_timeout_s=3", "--set unit_timeout_s is not a setting; did you mean limits.unit_ti"),
        ("decode.MODE=exact", "--set decode.MODE is not a setting; did you mean decode.mode?"),
        ("decode.mode=exat", "--set decode.mode=exat: must be 'rounded', 'exact' or 'scaled'; did"),
        ("limits.unit_timeout_s=-3", "--set limits.unit_timeout_s=-3: must be greater than 0"),
        ("fetch.attempts=0", "--set fetch.attempts=0: must be at least 1"),
        ("fetch.attempts=1.5", "--set fetch.attempts=1.5: must be an integer"),
        ("fetch.attempts=", "--set fetch.attempts=null: must be an integer"),
        ("masks.use_m2m=yes", "--set masks.use_m2m=yes: must be true or false"),
        ("model.checkpoint=3", "--set model.checkpoint=3: must be text; put it in quotes"),
        ("source.keep=[a, 3]", "--set source.keep[1]=3: must be text"),
        ("source.keep={a: b}", '--set source.keep={"a": "b"}: must be a list'),
        ("decode=exact", "--set decode=exact: must be a section, such as decode: {mode: ...}"),
        ("decod={}", "--set decod is not a setting; did you mean decode?"),
        ("decode.mode={}", "--set decode.mode={}: must be 'rounded'"),
        ("mode.x=4", '--set mode={"x": 4}: must be '),
        ("resources.actors=all", "--set resources.actors=all: must be an integer or 'auto'"),
        ("model.name=nanno", "--set model.name: No model is called 'nanno'. Did you mean 'nano'?"),
        ("decode", "--set decode: write setting=value, as in decode.mode=exact"),
        ("", "--set : write setting=value"),
        ("=3", "--set : write setting=value"),
        ("a..b=3", "--set a..b: write setting=value"),
        ("source.uri=[1", "--set source.uri: expected ',' or ']', but got '<stream end>'; put"),
        ("source.uri='a", "--set source.uri: found unexpected end of stream; put"),
        ("source.uri=[*a]", "--set source.uri: aliases (*name) are not read"),
        ("source.uri=[!!str a]", "--set source.uri: tags (!name) are not read"),
        ("source={uri: a, uri: b}", "--set source: value.uri is written a second time"),
        ("fetch.timeout_s=1e999", "--set fetch.timeout_s=Infinity: must be a finite number"),
        ("limits.max_attempts=" + "9" * 41, "--set limits.max_attempts=999"),
        ("x\n\x1b[31m=3", r"--set x\n\x1b[31m is not a setting"),
        ("mode=a\n\x1b", r"--set mode=a\n\x1b: must be"),
    ],
)
def test_set_says_in_one_line_what_is_wrong(assignment, fault):
    (found,) = faults_of_sets(assignment)
    assert found.startswith(fault)
    assert found.isprintable()


def test_a_setting_like_no_other_is_refused_with_those_there_are():
    (found,) = faults_of_sets("fetch.zzz=3")
    assert found.endswith("fetch has attempts, timeout_s, backoff_s, threads")
    (found,) = faults_of_sets("zzz=3")
    assert "there are mode, source, output, model, " in found


def refusal_of(load):
    """The words of a UsageError, or none; any other error goes through."""
    try:
        load()
    except UsageError as error:
        return str(error)
    return ""


TEXTS = st.text(st.characters(), max_size=40)
PATHS = st.sampled_from(
    ["source.uri", "masks.point_grids", "storage.s3", "storage", "decode", "fetch.attempts", ""]
)
YAMLISH = st.text("[]{},:'\"&*!|>#%@`-?~ \n\t\\0123456789abe.+_x", max_size=30)


@settings(max_examples=300, deadline=None)
@given(st.one_of(TEXTS, st.builds("{}={}".format, PATHS, st.one_of(TEXTS, YAMLISH))))
def test_any_text_is_taken_or_refused_in_printable_lines(assignment):
    refusal = refusal_of(lambda: load_config(None, [assignment], **ENDS))
    assert all(line.isprintable() for line in refusal.split("\n"))


@settings(max_examples=300, deadline=None)
@given(st.one_of(TEXTS, YAMLISH, st.builds("storage:\n  s3: {}".format, YAMLISH)))
def test_any_file_is_taken_or_refused_in_printable_lines(text):
    refusal = refusal_of(lambda: config_of(text, "job.yaml"))
    assert all(line.isprintable() for line in refusal.split("\n"))


# ---------------------------------------------------------------- files


def test_all_that_is_wrong_is_said_at_once_in_the_order_it_was_written(write):
    write(
        """\
mode: prompts
source:
  uri: [s3://a, 3]
decode:
  mod: exact
limits:
  unit_timeout_s: -3
model: {name: nano, precision: yes,
        image_size: 100}
fetch: 3
timeout: 5
"""
    )
    assert faults("job.yaml", ["fetch.retries=3", "limits.stop_window=0"], source=None) == [
        "job.yaml:1: mode=prompts: must be 'auto', 'prompt', 'track', 'auto_track', 'embed' or "
        "'semantic'; did you mean prompt?",
        "job.yaml:3: source.uri[1]=3: must be text; put it in quotes if it looks like a number",
        "job.yaml:5: decode.mod is not a setting; did you mean decode.mode?",
        "job.yaml:7: limits.unit_timeout_s=-3: must be greater than 0",
        "job.yaml:8: model.precision=yes: must be 'fp32', 'bf16' or 'fp16'",
        "job.yaml:9: model.image_size=100: must be a multiple of 32",
        "job.yaml:10: fetch=3: must be a section, such as fetch: {attempts: ...}",
        "job.yaml:11: timeout is not a setting; did you mean fetch.timeout_s?",
        "--set limits.stop_window=0: must be at least 1",
    ]


def test_the_line_is_that_of_the_file_that_won(write):
    write("mode: embed\ndecode: {mode: exact}\nsource: {uri: [a, 1]}\n", "a.yaml")
    write("\ndecode:\n  mode: wrong\n", "b.yaml")
    found = faults(["a.yaml", "b.yaml"], ["source.uri=[2]"], source=None)
    assert [line.partition("=")[0] for line in found] == [
        "b.yaml:3: decode.mode",
        "--set source.uri[0]",
    ]


def test_an_option_is_called_as_on_the_command_line():
    assert faults(mode="autoo", keep=["a", 3], source=[]) == [
        "SOURCE: must not be empty",
        "--mode=autoo: must be 'auto', 'prompt', 'track', 'auto_track', 'embed' or 'semantic'; "
        "did you mean auto?",
        "--keep=3: must be text; put it in quotes if it looks like a number",
    ]
    (found,) = faults(prompts="a.json")
    assert found == "--prompts is not read in mode auto: write prompt or track"


def test_what_is_missing_is_said_where_its_section_is(write):
    write("mode: prompt\nprompts:\n  file: a.parquet\n")
    first, *others = faults("job.yaml", source=None, output=None)
    assert first.startswith("job.yaml:2: prompts.coordinates is missing: a table does not say")
    assert others == [
        "source.uri is missing: write it in a config or on the command line",
        "output.uri is missing: write it in a config or on the command line",
    ]
    assert faults("job.yaml") == [first]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mode: auto\ndecode:\n\tmode: exact", "job.yaml:3: found a tab: use spaces"),
        ("mode: auto\nmodel: [a\n", "job.yaml:3: expected ',' or ']', but got"),
        ("mode: 'auto\n", "job.yaml:2: found unexpected end of stream"),
        ("mode: auto: embed", "job.yaml:1: mapping values are not allowed here"),
        ("- mode: auto", "job.yaml:1: must hold settings, key: value"),
        ("# x\njust words", "job.yaml:2: must hold settings, key: value"),
        ("mode: auto\n---\nmode: embed", "job.yaml:2: found another document"),
        ("mode: auto\nfetch: *x", "job.yaml:2: aliases (*name) are not read"),
        ("mode: !!python/object/apply:os.system [ls]", "job.yaml:1: tags (!name) are not read"),
        ("mode: !x auto", "job.yaml:1: tags (!name) are not read"),
        ("mode: !x!y auto", "job.yaml:1: found undefined tag"),
        ("\nmode: \x07", "job.yaml:2: holds the character #x0007"),
        ("\n? [a, b]\n: 3", "job.yaml:2: a list or mapping is no name of a setting"),
        ("a: " + "[" * 100_000, "job.yaml:1: goes deeper than 20 levels"),
        ("a: " + "{a: " * 100_000, "job.yaml:1: goes deeper than 20 levels"),
        ("#" * (MAX_CHARACTERS + 1), "job.yaml:1: has more than 1,048,576 characters"),
        (b"mode: \xff", "job.yaml is not UTF-8 at byte 6"),
        (b"\xef\xbb\xbfmode: wrong", "job.yaml:1: mode=wrong: must be"),
        ("<<: {mode: auto}", "job.yaml:1: << is not a setting"),
        ("mode: 2024-01-01", "job.yaml:1: mode=2024-01-01: must be"),
        ("no: 3", "job.yaml:1: no is not a setting"),
        ("1: 3", "job.yaml:1: 1 is not a setting"),
    ],
)
def test_a_file_that_is_no_config_is_refused_with_its_line(write, text, fault):
    write(text)
    (found,) = faults("job.yaml")
    assert found.startswith(fault)


def test_aliases_cannot_grow(write):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    write("\n".join(lines))
    own, *found = faults("job.yaml")
    assert own.startswith("job.yaml:2: aliases")
    assert len(found) == 11


def test_a_setting_written_twice_is_refused_with_both_lines(write):
    write("mode: auto\ndecode:\n  mode: exact\n  max_side: 3\n  mode: scaled\nmode: embed\nx: 1\n")
    *found, last = faults("job.yaml")
    assert last.startswith("job.yaml:7: x is not a setting; there are mode, source, output, ")
    assert found == [
        "job.yaml:5: decode.mode is written a second time; first in line 3",
        "job.yaml:6: mode is written a second time; first in line 1",
    ]


def test_a_file_that_cannot_be_read_hides_no_other_fault_and_invents_none(write, tmp_path):
    write("mode: 'auto\n")
    (tmp_path / "folder").mkdir()
    found = faults(["job.yaml", "gone.yaml", "folder"], ["fetch.attempts=0", "x"], source=None)
    assert [re.split(r"[;=]", line)[0] for line in found] == [
        "job.yaml:2: found unexpected end of stream",
        "gone is neither a file nor a shipped config",
        "folder cannot be read: Is a directory",
        "--set x: write setting",
        "--set fetch.attempts",
    ]


def test_very_many_faults_are_cut_short(write):
    write("\n".join(f"wrong{n}: 1" for n in range(250)))
    found = faults("job.yaml")
    assert len(found) == 101
    assert found[-1] == "and 150 more of this kind"


def test_a_path_may_be_that_of_an_object(write, tmp_path):
    write("mode: embed")
    assert load_config(tmp_path / "job.yaml", **ENDS).mode == "embed"


# ---------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "text",
    [
        f"storage: {HUSH}",
        f"storage:\n  s3: {HUSH}",
        f"storage:\n  s3:\n    secret: [{HUSH}]",
        f"storage:\n  s3:\n    secrte: {HUSH}",
        f"storage:\n  s3:\n    anon: {HUSH}",
        f"storage:\n  s3:\n  secret: {HUSH}",
        f"storage:\n  s3:\nsecret: {HUSH}",
        f"s3:\n  secret: {HUSH}",
        f"storage:\n  gs: {HUSH}",
        f"storage:\n  s3:\n    secret: *{HUSH}",
        f"storage:\n  s3:\n    secret: !{HUSH} x",
        f"storage:\n  s3:\n    secret: !{HUSH}!x x",
        f"storage:\n  s3:\n    secret: '{HUSH}",
        f"storage:\n  s3:\n    secret: [{HUSH}",
        f"storage:\n  s3:\n    secret: {HUSH}: x",
        f'storage:\n  s3:\n    secret: "{HUSH}\\q"',
        f"storage:\n  s3:\n    secret: @{HUSH}",
        f"storage:\n  s3:\n    secret: |{HUSH}",
        f"mode: https://me:{HUSH}@host/a?{HUSH}",
        f"output: https://host/a?{HUSH}",
    ],
)
def test_no_error_of_a_file_shows_a_secret(write, text):
    write(text)
    assert HUSH not in "\n".join(faults("job.yaml"))


@pytest.mark.parametrize(
    "assignment",
    [
        f"storage={HUSH}",
        f"storage.s3={HUSH}",
        f"storage.s3.secret=[{HUSH}]",
        f"storage.s3.secret=[{HUSH}",
        f"storage.s3.secret='{HUSH}",
        f"storage.s3.secrte={HUSH}",
        f"storage.gs={HUSH}",
        f"storage.s3.secret:{HUSH}",
        f"storage.s3.secret {HUSH}",
        f"s3.secret={HUSH}",
        f"storage={{s3: {{x: {HUSH}}}}}",
    ],
)
def test_no_error_of_set_shows_a_secret(assignment):
    assert HUSH not in "\n".join(faults_of_sets(assignment))


def test_an_error_carries_no_values_along(write):
    write(f"storage:\n  s3:\n    anon: {HUSH}\n")
    with pytest.raises(UsageError) as caught:
        load_config("job.yaml", **ENDS)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# ---------------------------------------------------------------- YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("1_000_000", 1_000_000),
        ("1_00", "1_00"),
        ("007", "007"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("off", "off"),
        ("~", None),
        ("", None),
        ("null", None),
        ("nUll", "nUll"),
        ("2024-01-01", "2024-01-01"),
        ("٣", "٣"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    found = scalar(text)
    assert (found, type(found)) == (value, type(value))


def test_nan_is_a_number_that_no_setting_takes():
    found = scalar(".nan")
    assert isinstance(found, float)
    assert math.isnan(found)
    assert "finite" in faults_of_sets("fetch.timeout_s=.nan")[0]


def test_lines_of_settings_and_of_items_are_known():
    document = read_yaml("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n")
    assert document.values == {"a": 1, "b": ["x", {"c": 2, "d": 3}]}
    assert document.lines == {
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 1, "c"): 4,
        ("b", 1, "d"): 5,
    }


def test_quoted_and_folded_scalars_are_text():
    document = read_yaml("a: '1'\nb: \"null\"\nc: |\n  2\nd: >-\n  true\n")
    assert document.values == {"a": "1", "b": "null", "c": "2\n", "d": "true"}


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8")),
    st.text("0123456789.e+-_:xn~ull", max_size=6),
)
VALUES = st.dictionaries(
    st.text(string.ascii_letters, min_size=1),
    st.one_of(SCALARS, st.lists(SCALARS), st.dictionaries(st.text("ab.1~", min_size=1), SCALARS)),
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_what_is_written_reads_back(values):
    document = read_yaml(write_yaml(values))
    assert document.faults == []
    assert document.values == values


@pytest.mark.parametrize("text", ["[1", "{", "'", '"', "[*a]", "{a: 1, a: 2}", "[!x 1]", "[1] 2"])
def test_a_value_that_is_no_yaml_is_a_value_error(text):
    with pytest.raises(ValueError):
        read_value(text)


def test_reading_a_large_file_is_quick():
    generator = random.Random(1)
    names = {"".join(generator.choices(string.ascii_lowercase, k=8)) for _ in range(5000)}
    text = "storage:\n  gs:\n" + "".join(f"    {name}: x\n" for name in names)
    config = config_of(f"source: {{uri: a}}\noutput: {{uri: b}}\n{text}", "job.yaml")
    assert len(config.storage.options()["gs"]) == len(names)
