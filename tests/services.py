"""Real services for tests, as processes on loopback: moto's S3 over HTTP, and PostgreSQL."""

import contextlib
import getpass
import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def process(port: int, *command: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers at `port` when the block begins, and is gone when it ends."""
    log = tempfile.TemporaryFile()  # noqa: SIM115
    server = subprocess.Popen(command, stdout=log, stderr=log, **options)  # type: ignore[call-overload]
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if server.poll() is not None:
                log.seek(0)
                raise RuntimeError(f"{command[0]} ended: {log.read().decode()[-2000:]}")
            time.sleep(0.1)
        else:
            raise RuntimeError(f"{command[0]} does not answer at {port}")
        yield server
    finally:
        end(server)
        log.close()


def end(server: subprocess.Popen[Any]) -> None:
    """Ask a process to end, and kill it where it does not."""
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def s3(port: int) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """S3 at http://127.0.0.1:port, which knows no objects when it starts."""
    return process(port, sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))


def s3_environment(port: int) -> dict[str, str]:
    """What the clients of S3 read, and nothing of what this machine may hold of its own."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def upload(port: int, bucket: str, folder: Path, prefix: str = "") -> None:
    """Put the files of a folder into a new bucket."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = prefix + path.relative_to(folder).as_posix()
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())


def _program(name: str) -> str:
    found = shutil.which(name) or next(
        iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None
    )
    if found is None:
        pytest.skip(f"PostgreSQL's {name} is not installed (Debian: apt-get install postgresql)")
    return os.path.realpath(found) if os.path.islink(found) else found


@contextlib.contextmanager
def postgresql(password: str) -> Iterator[int]:
    """A new PostgreSQL on loopback with the user `reader`; yields its port.

    It refuses root, so as root it runs as `postgres`, or `nobody` where there is no such user.
    """
    initdb, postgres = _program("initdb"), _program("postgres")
    options: dict[str, object] = {}
    top = Path(tempfile.mkdtemp(prefix="domainlm-pg-"))
    try:
        if os.geteuid() == 0:
            names = {user.pw_name for user in pwd.getpwall()}
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(top, account.pw_uid, account.pw_gid)
            options = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        options["cwd"] = top
        options["env"] = {"PATH": os.environ["PATH"], "USER": getpass.getuser(), "LC_ALL": "C"}
        (top / "password").write_text(password)
        os.chmod(top / "password", 0o644)
        subprocess.run(
            [
                initdb, "-D", str(top / "data"), "-U", "reader", "-A", "scram-sha-256",
                "--pwfile", str(top / "password"), "-E", "UTF8", "--locale=C", "--no-sync",
            ],
            check=True, capture_output=True, **options,
        )  # type: ignore[call-overload]  # fmt: skip
        port = free_port()
        with process(
            port, postgres, "-D", str(top / "data"), "-h", "127.0.0.1", "-p", str(port),
            "-k", str(top), "-F", **options,
        ):  # fmt: skip
            ready = [os.path.join(os.path.dirname(postgres), "pg_isready"), "-q", "-h", "127.0.0.1"]
            ready += ["-p", str(port)]
            while subprocess.run(ready).returncode in (1, 2):  # it starts up
                time.sleep(0.1)
            yield port
    finally:
        shutil.rmtree(top, ignore_errors=True)
