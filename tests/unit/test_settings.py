"""Types that settings are made of."""

from __future__ import annotations

import copy
import pickle
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from bridge.settings import (
    GIB,
    HOUR,
    AmqpUrl,
    Duration,
    HttpUrl,
    Name,
    RestSettings,
    Secret,
    Settings,
    Size,
    Token,
    Url,
    WebSocketUrl,
    read_duration,
    read_size,
    secrets,
    write_duration,
    write_size,
)

MARKER = "HUNTER2"


class Example(Settings):
    """One field of each type."""

    name: Name = "main"
    key: Secret | None = None
    token: Token | None = None
    socket: WebSocketUrl | None = None
    amqp: AmqpUrl | None = None
    url: HttpUrl | None = None
    window: Duration = Field(6 * HOUR, gt=0)
    limit: Size = 2 * GIB
    count: int = 1
    ratio: float = 0.5
    flag: bool = False
    choice: Literal["auto", 1, 2] = "auto"
    ids: tuple[str, ...] = ()
    rest: RestSettings | None = None


def fault(**values: Any) -> str:
    """Return what validation says; never with the value."""
    with pytest.raises(ValidationError) as caught:
        Example.model_validate(values)
    assert MARKER not in str(caught.value)
    assert MARKER not in repr(caught.value)
    return str(caught.value.errors(include_input=False)[0]["msg"])


def test_a_secret_shows_its_text_to_reveal_only() -> None:
    """Every way of making text of a secret gives the mask."""
    secret = Secret(MARKER)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", "%s" % secret, repr([secret])]  # noqa: UP031
    assert not any(MARKER in text for text in shown)
    assert secret.reveal() == MARKER
    assert not hasattr(secret, "__dict__")


def test_a_secret_is_not_pickled() -> None:
    """What a pickle holds can be read by anyone."""
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(Secret(MARKER))


def test_a_secret_is_a_value() -> None:
    """Equal text is an equal secret; copies are the secret itself."""
    secret = Secret(MARKER)
    assert secret == Secret(MARKER) != Secret("other")
    assert secret != MARKER
    assert len({secret, Secret(MARKER)}) == 1
    assert copy.deepcopy(secret) is copy.copy(secret) is secret


def test_settings_dump_masked() -> None:
    """No dump and no repr of settings holds a secret, and every secret is listed for the log's redaction."""
    example = Example.model_validate(
        {
            "key": f"{MARKER}1",
            "token": f"{MARKER}2",
            "amqp": f"amqps://user:{MARKER}3%21@host/v",
            "url": f"https://{MARKER}4@host/path?token={MARKER}5",
            "rest": {"url": f"https://u:{MARKER}6@host"},
        }
    )
    for text in (repr(example), str(example), example.model_dump_json(), str(example.model_dump())):
        assert MARKER not in text
    assert set(secrets(example)) >= {
        f"{MARKER}1",
        f"{MARKER}2",
        f"{MARKER}3!",
        f"{MARKER}4",
        f"token={MARKER}5",
        f"{MARKER}6",
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"),
        (f"{MARKER}\n{MARKER}", "line break"),
        (f"{MARKER}\0", "control character"),
        (True, "expected text"),
        ([MARKER], "expected text"),
    ],
)
def test_what_is_no_secret_is_refused_without_repeating_it(value: object, words: str) -> None:
    """A secret of the wrong form is most likely still a secret."""
    assert words in fault(key=value)


def test_a_pem_key_is_a_secret_of_several_lines() -> None:
    """A private key is PEM text, the only secret with line breaks."""
    pem = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
    assert Example.model_validate({"key": pem}).key == Secret(pem)


@pytest.mark.parametrize("value", [f"{MARKER} x", f"{MARKER}ü", f"\t{MARKER}"])
def test_a_token_fits_into_a_header(value: str) -> None:
    """An HTTP client would quote in its error what it can't send."""
    fault(token=value)


def test_a_whole_number_is_text_where_text_is_wanted() -> None:
    """Token ids are longer than any float; as numbers in the file they stay exact."""
    number = 2**256 - 1
    assert Example.model_validate({"ids": [number, "1.10"], "key": 12}).ids == (str(number), "1.10")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"count": "3"}, 3),
        ({"flag": "true"}, True),
        ({"flag": "no"}, False),
        ({"ratio": "1.25"}, 1.25),
        ({"choice": "2"}, 2),
        ({"choice": 1}, 1),
        ({"window": "90"}, 90.0),
    ],
)
def test_text_is_a_number_where_a_number_is_wanted(values: dict[str, object], expected: object) -> None:
    """What comes from the environment is text."""
    example = Example.model_validate(values)
    made = getattr(example, next(iter(values)))
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize("name", ["count", "ratio", "name", "window", "limit"])
def test_true_is_neither_number_nor_text(name: str) -> None:
    """`count: true` is a mistake, not a 1."""
    assert fault(**{name: True}).startswith("expected")


def test_settings_are_frozen_and_closed() -> None:
    """Settings don't change, and an unknown key is an error."""
    with pytest.raises(ValidationError):
        Example().count = 2  # type: ignore[misc]
    fault(unknown=MARKER)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wss://host", "wss://host"),
        ("wss://host:8443/a%20b", "wss://host:8443/a%20b"),
        (f"wss://u:{MARKER}@host:1/x", "wss://***@host:1/x"),
        (f"wss://{MARKER}@host", "wss://***@host"),
        (f"wss://[::1]:9/p?key={MARKER}", "wss://[::1]:9/p?***"),
        (f"WSS://u:{MARKER}@Host", "wss://***@Host"),
    ],
)
def test_a_url_hides_userinfo_and_query(text: str, shown: str) -> None:
    """Both may hold credentials; the rest stays readable, and `reveal` has it all."""
    url = Url(text)
    assert str(url) == f"{url}" == shown
    assert repr(url) == f"Url({shown!r})"
    assert url.reveal() == text


def test_a_url_is_taken_apart() -> None:
    """The parts are those of the standard; credentials are decoded."""
    url = Url("amqps://us%40er:p%2Fw@Host:5671/v%2Fhost")
    assert (url.scheme, url.host, url.port, url.path) == ("amqps", "host", 5671, "/v%2Fhost")
    assert (url.username, url.password) == ("us@er", Secret("p/w"))
    assert url.origin == "amqps://Host:5671"
    assert Url("wss://h").port is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        MARKER,
        f"//{MARKER}",
        f"wss://[{MARKER}/",
        f"wss://h:{MARKER}",
        f"wss://h {MARKER}",
        f"wss://h#{MARKER}",
        "wss://",
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(text: str) -> None:
    """The standard library's own errors quote the text."""
    assert "expected a URL" in fault(socket=text)
    with pytest.raises(ValueError, match=r"^not a URL$"):
        Url(text)


def test_a_url_has_one_of_the_schemes_of_its_field() -> None:
    """A web page's URL in place of the socket's is a common mistake."""
    assert fault(socket=f"https://{MARKER}@h") == "expected a URL that starts with wss:// or ws://"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1.5s", 1.5), ("6h", 21600.0), ("1h30m", 5400.0), ("2d", 172800.0), ("0", 0.0), ("15", 15.0)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """With units, several in a row, or as plain seconds."""
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "6 hours", "-1s", "1e3", "1.s", "6H", "nan", "inf", "1s1"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed."""
    assert read_duration(text) is None
    assert "expected a duration" in fault(window=text)


@given(st.integers(min_value=0, max_value=10**10))
def test_durations_are_written_as_they_are_read(milliseconds: int) -> None:
    """What `config show` prints means the same when it is read again."""
    seconds = milliseconds / 1000
    assert read_duration(write_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 << 30),
        ("500MB", 500_000_000),
        ("64Ki", 65536),
        ("1.5KiB", 1536),
        ("7", 7),
        ("7B", 7),
        ("1 TiB", 1 << 40),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    """Binary and decimal units, or as plain bytes."""
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1.3B", "2 G iB", "1e9", "2XiB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Nothing is guessed, and half a byte is none."""
    assert read_size(text) is None
    assert "expected a size" in fault(limit=text)


@given(st.integers(min_value=0, max_value=1 << 52))
def test_sizes_are_written_as_they_are_read(size: int) -> None:
    """What `config show` prints means the same when it is read again."""
    assert read_size(write_size(size)) == size


def test_numbers_are_dumped_with_their_units() -> None:
    """A person reads 6h, not 21600.0."""
    shown = Example().model_dump()
    assert (shown["window"], shown["limit"]) == ("6h", "2GiB")


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, None, [1]])
def test_a_duration_is_finite_and_not_negative(value: object) -> None:
    """Nothing waits for ever or back in time."""
    assert "expected a duration" in fault(window=value)


@pytest.mark.parametrize("name", ["Main", "1a", "-a", "a_b", "a.b", "a\n", "", "ä", "a" * 101])
def test_names_fit_into_topics(name: str) -> None:
    """A name is part of topic names and transactional ids."""
    fault(name=name)
