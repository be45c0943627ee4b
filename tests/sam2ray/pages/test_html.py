"""Markup: what comes from outside stays text."""

from sam2ray.pages.html import Html, data_uri, element, from_outside, joined


def test_text_is_escaped_wherever_it_stands_and_markup_once():
    made = element("p", "<b>&", element("i", '"x"'), title='"><script>')
    assert made == '<p title="&quot;&gt;&lt;script&gt;">&lt;b&gt;&amp;<i>&quot;x&quot;</i></p>'
    assert isinstance(made, Html)
    assert joined(made, "<") == f"{made}&lt;"


def test_attributes_are_named_as_html_names_them():
    assert element("label", for_="hide", aria_label="x", hidden="") == (
        '<label for="hide" aria-label="x" hidden></label>'
    )
    assert element("img", alt="a", src=None, width=3) == '<img alt="a" width="3">'


def test_names_from_outside_show_what_would_be_hidden_and_hide_what_is_secret():
    assert from_outside("a\x1b[31m\u202eb\udc80") == r"a\x1b[31m\u202eb\udc80"
    signed = "https://me:pass@host/a.jpg?X-Amz-Signature=0123456789abcdef"
    assert from_outside(f"cannot read {signed}") == "cannot read https://host/a.jpg"


def test_long_texts_keep_both_their_ends():
    short = from_outside(f"begin{'x' * 5000}end", 60)
    assert len(short) <= 60
    assert short.startswith("begin")
    assert short.endswith("end")


def test_a_file_becomes_an_address():
    assert data_uri(b"\x00\xff", "image/png") == "data:image/png;base64,AP8="
