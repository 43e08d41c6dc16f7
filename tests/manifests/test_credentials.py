"""Credentials of S3 from AWS's profiles, with boto3 and without it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests.credentials import FIRST, s3_credentials

Write = Callable[..., None]


@pytest.fixture(params=["boto3", "no boto3"])
def with_boto3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "no boto3":
        monkeypatch.setitem(sys.modules, "boto3", None)
    return bool(request.param == "boto3")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the two files of AWS's tools."""
    for name in (*FIRST, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    def write(credentials: str, config: str = "") -> None:
        (tmp_path / "credentials").write_text(credentials)
        (tmp_path / "config").write_text(config)

    return write


def keys(arguments: dict[str, object]) -> tuple[object, object]:
    """Both keys, whichever way the store is told of them."""
    provider = arguments.get("credential_provider")
    found = provider() if callable(provider) else arguments
    return found["access_key_id"], found["secret_access_key"]


STORED = """
[default]
aws_access_key_id = id
aws_secret_access_key = secret
[other]
aws_access_key_id = id2
aws_secret_access_key = secret2
"""


def test_keys_of_a_profile(with_boto3: bool, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(STORED, "[profile third]\naws_access_key_id = id3\naws_secret_access_key = secret3\n")
    assert ("credential_provider" in s3_credentials()) == with_boto3
    assert keys(s3_credentials()) == ("id", "secret")
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert keys(s3_credentials()) == ("id2", "secret2")
    monkeypatch.setenv("AWS_PROFILE", "third")
    assert keys(s3_credentials()) == ("id3", "secret3")


def test_keys_of_the_environment_go_first(with_boto3: bool, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(STORED)
    monkeypatch.setenv("AWS_PROFILE", "other")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id4")
    assert s3_credentials() == {}  # obstore reads them itself


def test_a_profile_that_is_not_there_is_one_line(
    with_boto3: bool, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(STORED)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(OSError, match=r"^AWS_PROFILE=nobody: no keys for this profile in [^\n]*$"):
        s3_credentials()


def test_files_without_a_default_profile_leave_it_to_the_store(with_boto3: bool, write: Write) -> None:
    write("[other]\naws_access_key_id = id2\naws_secret_access_key = secret2\n")
    assert s3_credentials() == {}
