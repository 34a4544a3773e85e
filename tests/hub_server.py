"""A loopback Hub: the endpoints that huggingface_hub calls to list and read a data set.

    GET  /api/datasets/ORG/NAME[/revision/REVISION]             the commit
    GET  /api/datasets/ORG/NAME/tree/COMMIT[/FOLDER]            files, in pages (Link: rel="next")
    HEAD, GET /datasets/ORG/NAME/resolve/COMMIT/PATH            the bytes, with ranges

Errors carry the real header X-Error-Code. Every request is logged as (method, path, range).
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

PAGE = 3  # entries of a listing; small, so that there are many pages


def commit_of(files: dict[str, bytes]) -> str:
    """A name for a state of a repository, as git's: 40 hexadecimal digits."""
    digest = hashlib.sha1()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}".encode() + data)
    return digest.hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves `repositories`: id to branch to files. `fault(method, path, nth)` gives a status."""

    daemon_threads = True

    def __init__(self, fault: Callable[[str, str, int], int | None] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.commits: dict[tuple[str, str], dict[str, bytes]] = {}
        self.fault = fault or (lambda method, path, nth: None)
        self.private: set[str] = set()
        self.log: list[tuple[str, str, str]] = []
        self.base = f"http://127.0.0.1:{self.server_address[1]}"

    def push(self, repository: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Make `files` what the branch holds; returns the commit, which stays readable."""
        self.repositories.setdefault(repository, {})[branch] = files
        commit = commit_of(files)
        self.commits[repository, commit] = files
        return commit

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        nth = sum(entry[1] == path for entry in self.server.log)
        self.server.log.append((self.command, path, self.headers.get("Range") or ""))
        if status := self.server.fault(self.command, path, nth):
            return self._send(status, b"out of order")
        found = re.fullmatch(r"/(api/)?datasets/([^/]+/[^/]+)(?:/(\w+)/([^/]+)(?:/(.*))?)?", path)
        if not found:
            return self._error(404, "RepoNotFound")
        api, repository, verb, revision, rest = found.groups()
        branches = self.server.repositories.get(repository)
        if branches is None:
            return self._error(401, "RepoNotFound")  # as the Hub does for who is not logged in
        if repository in self.server.private:
            return self._error(403, "GatedRepo")
        revision, rest = unquote(revision or "main"), unquote(rest or "")
        files = branches.get(revision) or self.server.commits.get((repository, revision))
        if files is None:
            return self._error(404, "RevisionNotFound")
        if api and verb in {None, "revision"}:
            return self._json({"id": repository, "sha": commit_of(files), "siblings": []})
        if api and verb == "tree":
            return self._tree(files, rest)
        if verb == "resolve" and rest in files:
            return self._bytes(files[rest], commit_of(files))
        self._error(404, "EntryNotFound")

    def _tree(self, files: dict[str, bytes], folder: str) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        prefix = folder + "/" if folder else ""
        deep = asked.get("recursive", ["false"])[0].lower() == "true"
        rows: dict[str, dict[str, object]] = {}
        for name, data in sorted(files.items()):
            if not name.startswith(prefix):
                continue
            parts = name[len(prefix) :].split("/")
            for depth in range(1, len(parts)):
                path = prefix + "/".join(parts[:depth])
                if deep or depth == 1:
                    rows[path] = {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
            if deep or len(parts) == 1:
                oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                rows[name] = {"type": "file", "path": name, "oid": oid, "size": len(data)}
        if not rows:
            return self._error(404, "EntryNotFound")
        first = int(asked.get("cursor", ["0"])[0])
        page = list(rows.values())[first : first + PAGE]
        headers = {}
        if first + PAGE < len(rows):
            path = urlsplit(self.path).path
            query = f"recursive={deep}&cursor={first + PAGE}"
            headers["Link"] = f'<{self.server.base}{quote(path, safe="/%")}?{query}>; rel="next"'
        self._json(page, headers)

    def _bytes(self, data: bytes, commit: str) -> None:
        headers = {
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not found:
            return self._send(200, data, headers)
        start = int(found[1])
        stop = min(int(found[2]) + 1 if found[2] else len(data), len(data))
        if start >= len(data):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send(206, data[start:stop], headers)

    def _error(self, status: int, code: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code}
        self._send(status, json.dumps({"error": code}).encode(), headers)

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self._send(200, data, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
