"""The flags about clients and about Ray: what they come to, and what is wrong with them."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from serve.settings import (
    ADDRESS_VARIABLE,
    KEY_VARIABLE,
    ClientLimits,
    RayOptions,
    SettingError,
    Settings,
    add_client_flags,
    add_ray_flags,
    add_site_flags,
    read_client_flags,
    read_ray_flags,
    settings_from_json,
)

KEY = "a key of many letters"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, ADDRESS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_client_flags(parser)
    add_ray_flags(parser)
    add_site_flags(parser)
    return parser.parse_args(words)


def test_flags_default_to_the_dataclasses() -> None:
    assert read_client_flags(parsed()) == Settings()
    assert read_ray_flags(parsed()) is None


def test_each_flag_sets_one_limit() -> None:
    words = "--read-timeout 1 --write-timeout 2.5 --deadline 3 --max-connections 4 --max-requests 5"
    expected = Settings(ClientLimits(1.0, 2.5, 4, 5), 3.0, None, log_json=True)
    assert read_client_flags(parsed(*words.split(), "--log-json")) == expected


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        (
            "--read-timeout",
            "soon",
            "--read-timeout: expected seconds from 0.01 to 3600, got 'soon'",
        ),
        ("--write-timeout", "0", "--write-timeout: expected seconds from 0.01 to 3600, got '0'"),
        ("--deadline", "nan", "--deadline: expected seconds from 0.01 to 3600, got 'nan'"),
        ("--max-connections", "0", "--max-connections: expected a number from 1 to 65536, got '0'"),
        ("--max-requests", "1e3", "--max-requests: expected a number from 1 to 65536, got '1e3'"),
        *(
            (
                "--allowed-host",
                host,
                "--allowed-host: expected a host such as models.example, without port and path, "
                f"got {host!r}",
            )
            for host in ("http://a", "a:80", "a/b", "", "a.*", "a b", "-", "fe80::1::")
        ),
        *(
            (
                "--allow-origin",
                origin,
                "--allow-origin: expected an origin such as https://page.example, without a path, "
                f"got {origin!r}",
            )
            for origin in ("page.example", "https://a/", "https://a/b", "", "null", "https://a b")
        ),
        ("--root-path", "digits", "--root-path: expected a path such as /digits, got 'digits'"),
        ("--root-path", "/a//b", "--root-path: expected a path such as /digits, got '/a//b'"),
        ("--root-path", "/a?b", "--root-path: expected a path such as /digits, got '/a?b'"),
        *(
            (
                "--trusted-proxy",
                proxy,
                "--trusted-proxy: expected an address or network such as 10.0.0.0/8, "
                f"got {proxy!r}",
            )
            for proxy in ("proxy.example", "10.0.0.0/33", "10.0.0.1/8", "", "127.0.0.1:80", "*")
        ),
        ("--api-key-file", "/no/file", "--api-key-file: /no/file: cannot be read: "),
    ],
)
def test_a_limit_out_of_range_is_refused(flag: str, value: str, message: str) -> None:
    with pytest.raises(SettingError) as raised:
        read_client_flags(parsed(flag, value))
    assert str(raised.value).startswith(message)


def test_hosts_are_allowed_as_requests_name_them() -> None:
    given = ["Models.Example", "*.a.example", "10.0.0.0/8", "FE80::1", "[::1]", "10.1.2.3", "*"]
    words = [word for host in given for word in ("--allowed-host", host)]
    assert read_client_flags(parsed(*words)).allowed_hosts == (
        "models.example", "*.a.example", "10.0.0.0/8", "[fe80::1]", "[::1]", "10.1.2.3", "*",
    )  # fmt: skip


def test_flags_about_proxies_and_pages_are_read() -> None:
    words = (
        "--allow-origin HTTPS://Page.example --allow-origin http://[::1]:8000 --allow-origin *"
        " --root-path /team/digits/ --trusted-proxy 10.0.0.0/8 --trusted-proxy ::1"
    )
    settings = read_client_flags(parsed(*words.split()))
    assert settings.allow_origins == ("https://page.example", "http://[::1]:8000", "*")
    assert settings.root_path == "/team/digits"
    assert settings.limits.trusted_proxies == ("10.0.0.0/8", "::1")


def test_settings_cross_to_workers_as_json() -> None:
    limits = ClientLimits(trusted_proxies=("::1",))
    settings = Settings(limits, api_key=KEY, allowed_hosts=("a", "b"))
    assert settings_from_json(json.loads(json.dumps(asdict(settings)))) == settings


def test_a_key_comes_from_a_file_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    monkeypatch.setenv(KEY_VARIABLE, "another key of many letters")
    assert read_client_flags(parsed("--api-key-file", str(file))).api_key == KEY
    assert read_client_flags(parsed()).api_key == "another key of many letters"


@pytest.mark.parametrize("key", ["short", "a key of many letters\nand two lines", "schlüssel" * 3])
def test_a_key_that_is_short_or_odd_is_refused_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(SettingError, match=f"{KEY_VARIABLE}: expected a key of at least") as raised:
        read_client_flags(parsed())
    assert key not in str(raised.value)
    assert KEY not in repr(Settings(api_key=KEY))


def test_replicas_have_a_minimum_and_a_maximum() -> None:
    assert read_ray_flags(parsed("--ray")) == RayOptions(1, 1, None)
    assert read_ray_flags(parsed("--ray", "--workers", "3")) == RayOptions(3, 3, None)
    words = ("--ray", "--workers", "2", "--max-workers", "5", "--address", "auto")
    assert read_ray_flags(parsed(*words)) == RayOptions(2, 5, "auto")


def test_the_environment_names_the_cluster_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, "10.0.0.1:6379")
    assert read_ray_flags(parsed("--ray")) == RayOptions(1, 1, "10.0.0.1:6379")
    assert read_ray_flags(parsed("--ray", "--address", "auto")) == RayOptions(1, 1, "auto")
    assert read_ray_flags(parsed()) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--max-workers 2", "--max-workers: sets up Ray Serve; add --ray"),
        ("--address auto", "--address: sets up Ray Serve; add --ray"),
        ("--ray --workers 0", "--workers: expected a number from 1 to 65536, got '0'"),
        (
            "--ray --workers 2 --max-workers 1",
            "--max-workers: expected at least 2, as --workers, got 1",
        ),
        (
            "--ray --max-connections 64",
            "--max-connections: connections are Ray's with --ray; leave it out",
        ),
    ],
)
def test_flags_that_ray_serve_cannot_meet_are_refused(words: str, message: str) -> None:
    with pytest.raises(SettingError) as raised:
        read_ray_flags(parsed(*words.split()))
    assert str(raised.value) == message
