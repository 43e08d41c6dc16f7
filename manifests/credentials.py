"""S3 credentials from AWS profiles (`~/.aws`, `AWS_PROFILE`), which obstore does not read.

Keys in the environment, web identities and container credentials take precedence: obstore reads those itself.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Any

FIRST = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
         "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_SKIP_SIGNATURE")  # fmt: skip
KEYS = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token"}  # fmt: skip


def s3_credentials() -> dict[str, Any]:
    """Return credential arguments for an S3Store; {} if obstore finds the credentials itself.

    With boto3 every kind of profile works, without it only profiles that hold their keys. Raises OSError if
    `AWS_PROFILE` names a profile that does not exist or needs boto3 (SSO, roles, `credential_process`).
    """
    named = os.environ.get("AWS_PROFILE")
    if any(name in os.environ for name in FIRST) or not (named or any(path.exists() for path in _profile_files())):
        return {}
    try:
        import boto3
    except ImportError:
        return _stored_keys(named)
    return (
        _from_boto3(boto3.Session(), named) if named is None or _read_sections(named) else _raise_unknown_profile(named)
    )


def _from_boto3(session: Any, named: str | None) -> dict[str, Any]:
    if session.get_credentials() is None:
        return {} if named is None else _raise_unknown_profile(named)
    from obstore.auth.boto3 import Boto3CredentialProvider

    return {"credential_provider": Boto3CredentialProvider(session)}


def _stored_keys(named: str | None) -> dict[str, Any]:
    found = {KEYS[key]: text for section in _read_sections(named or "default") for key, text in section.items()
             if key in KEYS}  # fmt: skip
    if "access_key_id" in found:
        return found
    return {} if named is None else _raise_unknown_profile(named)


def _raise_unknown_profile(named: str) -> dict[str, Any]:
    raise OSError(f"AWS_PROFILE={named}: no keys for this profile in {' or '.join(map(str, _profile_files()))} "
                  "(profiles with SSO, roles or credential_process need boto3: pip install boto3)")  # fmt: skip


def _profile_files() -> list[Path]:
    names = (("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), ("AWS_CONFIG_FILE", "~/.aws/config"))
    return [Path(os.environ.get(name, usual)).expanduser() for name, usual in names]


def _read_sections(profile: str) -> list[dict[str, str]]:
    """Return a profile's sections of both files; the credentials file comes last and so takes precedence."""
    parser = configparser.RawConfigParser()
    found = []
    for path in reversed(_profile_files()):
        parser.clear()
        parser.read(path)
        found += [dict(parser[name]) for name in (f"profile {profile}", profile) if parser.has_section(name)]
    return found
