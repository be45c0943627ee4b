"""What of an address is public, what is not, and that no text keeps the difference."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from sam2ray.addresses import (
    ends_at,
    last_to_end,
    public_name,
    public_text,
    take_apart,
    user_of,
    without_secrets,
    without_user,
)

AMAZON = (
    "https://b.s3.amazonaws.com/a/b.jpg?versionId=7&X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKHUSH%2F20260102%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260102T030405Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host"
    "&X-Amz-Security-Token=HUSHTOKEN&X-Amz-Signature=hush0123456789"
)
GOOGLE = (
    "https://storage.googleapis.com/b/a.jpg?X-Goog-Algorithm=GOOG4-RSA-SHA256"
    "&X-Goog-Credential=hush%40x.iam&X-Goog-Date=20260102T030405Z&X-Goog-Expires=60"
    "&X-Goog-SignedHeaders=host&generation=5&X-Goog-Signature=hush00"
)
AZURE = (
    "https://x.blob.core.windows.net/c/a.jpg?snapshot=1&sv=2024-11-04&st=2026-01-01T00:00:00Z"
    "&se=2026-01-02T03%3A04%3A05Z&sr=b&sp=r&spr=https&sig=hush%2Fhush%3D"
)


@pytest.mark.parametrize(
    ("whole", "public"),
    [
        (AMAZON, "https://b.s3.amazonaws.com/a/b.jpg?versionId=7"),
        (GOOGLE, "https://storage.googleapis.com/b/a.jpg?generation=5"),
        (AZURE, "https://x.blob.core.windows.net/c/a.jpg?snapshot=1"),
        (
            "https://b.s3.amazonaws.com/a?AWSAccessKeyId=HUSH&Signature=hush&Expires=1",
            "https://b.s3.amazonaws.com/a",
        ),
        (
            "https://d.cloudfront.net/a?Policy=hush&Key-Pair-Id=K&Signature=hush",
            "https://d.cloudfront.net/a",
        ),
        ("http://h/a.jpg?w=1;token=hush;h=2", "http://h/a.jpg?w=1&h=2"),
        ("http://h/a.jpg?id=5&X%2DAmz%2DSignature=hush", "http://h/a.jpg?id=5"),
        ("HTTPS://h/a b.jpg?upload_token=hush", "HTTPS://h/a b.jpg"),
        ("http://h/a.jpg#access_token=hush", "http://h/a.jpg#access_token=hush"),
        ("http://h/a.jpg?id=1#access_token=hush", "http://h/a.jpg?id=1"),
        ("https://me:hush@h/a.jpg", "https://h/a.jpg"),
        ("https://me:hu@sh@h:8080/a@b.jpg", "https://h:8080/a@b.jpg"),
        ("https://me:hu/sh@h/a.jpg", "https://h/a.jpg"),
        ("https://hush@h/a.jpg?id=1", "https://h/a.jpg?id=1"),
        ("s3://KEY:hu/sh+x@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("ftp://me:hush@h/a.jpg", "ftp://h/a.jpg"),
        (f"az://c/a.jpg?sv=1&sig={'hush' * 8}", "az://c/a.jpg"),
    ],
)
def test_what_lets_one_in_is_no_part_of_the_public_address(whole, public):
    address = take_apart(whole)
    assert address.public == public
    assert address.whole == whole
    assert (address.secret is None) == (whole == public)
    assert "hush" not in repr(address) or address.secret is None


@pytest.mark.parametrize(
    "uri",
    [
        "https://host/image?id=5&size=full&Expires=3",
        "https://host/@user/a.jpg",
        "https://host:8080/a@2x.jpg",
        "http://[::1]:8080/a@b.jpg",
        "https://host/a.jpg?key=pictures/a.jpg",
        "s3://b/odd?sig=1.jpg",
        "s3://b/a:b@c.jpg",
        "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/x/a@2x.jpg",
        "/data/a.jpg?token=hush&sig=1",
        "file:///data/me:x@a.jpg",
    ],
)
def test_an_address_without_a_secret_stays_as_it_is(uri):
    assert take_apart(uri).public == uri
    assert take_apart(uri).secret is None


def test_the_end_of_a_signature_is_read_where_it_is_written():
    end = datetime(2026, 1, 2, 4, 4, 5, tzinfo=timezone.utc)
    assert ends_at(AMAZON) == end
    assert ends_at(GOOGLE) == end.replace(hour=3, minute=5)
    assert ends_at(AZURE) == end.replace(hour=3)
    assert ends_at(f"http://h/a?Expires={end.timestamp():.0f}&Signature=x") == end
    for odd in ("http://h/a?Expires=soon", "http://h/a", "http://h/a?Expires=" + "9" * 30):
        assert ends_at(odd) is None


def test_of_several_signatures_the_last_to_end_counts():
    ends = [f"http://h/a?token={n}&Expires={end}" for n, end in enumerate((5, 7, 6))]
    assert last_to_end(ends) == ends[1]
    unknown = ["http://h/a?token=1", "http://h/a?token=2"]
    assert last_to_end(unknown) == unknown[1]
    assert last_to_end([]) is None


def test_a_user_is_told_apart_from_the_address():
    assert user_of("https://me:p%40ss@h/a") == "me:p@ss"
    assert user_of("https://h/a@b") is None
    assert without_user("https://me:x/y@h/a") == "https://h/a"


def test_columns_that_repeat_an_address_keep_what_is_public_of_it():
    text = f'["{AMAZON}","at 5, see http://h/a?token=hush and b","s3://b/a"]'
    shown = public_text(text)
    assert shown == (
        '["https://b.s3.amazonaws.com/a/b.jpg?versionId=7","at 5, see http://h/a and b","s3://b/a"]'
    )


def test_names_in_files_of_prompts_lose_their_signatures_too():
    assert public_name("http://h/a.jpg?token=hush") == "http://h/a.jpg"
    assert public_name(f"x/a.jpg?id=1&sig={'hush' * 8}") == "x/a.jpg?id=1"
    for name in ("a?b.jpg", "x/me:you@a.jpg", "a.jpg", "odd?sig=1.jpg"):
        assert public_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        f"400, message='Bad', url='{AMAZON}'",
        f"cannot open {AZURE}",
        "URL can't contain control characters. '/a b.jpg?id=1&X-Amz-Signature=hush' (found)",
        "https://h/a b.jpg?sig=hush",
        "nobody at https://me:hush@hush@h/a",
        "https://h/r?next=https%3A%2F%2Fh%3Fsig%3Dhush",
        "{'Authorization': 'Basic aHVzaDpodXNo', 'x': 'Bearer hush.hush.hush'}",
        "AWSAccessKeyId=hush, Signature=hush",
    ],
)
def test_nothing_secret_is_left_in_a_message(text):
    shown = without_secrets(text)
    assert "hush" not in shown.lower()
    assert "aHVzaD" not in shown


def test_what_is_known_to_be_secret_is_hidden_wherever_it_stands():
    address = take_apart("https://me:hu%40sh@h/a.jpg?id=77777&token=long%2Fhush&spr=https")
    for text in ("port: 'hu@sh@h'", "got long/hush", "got long%2Fhush", f"at {address.whole}"):
        shown = address.hide(text)
        assert "hush" not in shown
        assert "hu@sh" not in shown
    assert address.hide("https://h/a.jpg: 77777") == "https://h/a.jpg: 77777"
