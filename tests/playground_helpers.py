"""A run to play with, and its server in a process of its own."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from domainlm.artifacts import read_json, write_json
from domainlm.recipes import dump
from evaluation_helpers import make_run
from services import end

HOSTILE = (
    "</textarea><script>document.title = 'owned'</script><img src=x onerror=\"document.title='o'\">"
    " \x1b[31mred\x1b]0;title\x07 \u202eback {{ 7 * 7 }} é😀 '\"&amp;\n" + "long" * 90
)
ASK = {"models": ["stock", "scratch"], "prompt": "we may", "tokens": 6}


class Served:
    """A server in a process of its own; `ask` sends exactly the headers it is given."""

    CODE = (
        "import json, sys; from pathlib import Path;"
        "from domainlm.playground.server import Limits, serve;"
        "serve(Path(sys.argv[1]), port=int(sys.argv[2]), limits=Limits(**json.loads(sys.argv[3])))"
    )

    def __init__(self, root: Path, port: int = 0, **limits: float) -> None:
        command = [sys.executable, "-c", self.CODE, str(root), str(port), json.dumps(limits)]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        self.said: list[str] = []
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            raise RuntimeError("".join(self.said))
        threading.Thread(target=self._drain, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.port}"

    def _drain(self) -> None:
        assert self.process.stderr
        self.said.extend(self.process.stderr)

    def stop(self) -> None:
        end(self.process)

    def send(
        self, path: str, question: Any = None, method: str = "", **headers: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = question if isinstance(question, bytes) else json.dumps(question).encode()
        method = method or ("GET" if question is None else "POST")
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = {"host": f"127.0.0.1:{self.port}", "content_type": "application/json"} | headers
        for name, value in given.items():
            if value:
                connection.putheader(name.replace("_", "-"), value)
        if method == "POST":
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body if method == "POST" else None)
        return connection, connection.getresponse()

    def ask(self, path: str, question: Any = None, **more: str) -> tuple[int, str]:
        connection, answer = self.send(path, question, **more)
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def lines(self, path: str, question: Any) -> list[dict[str, Any]]:
        status, text = self.ask(path, question)
        assert status == 200, text
        return [json.loads(line) for line in text.splitlines()]


def make_played(folder: Path) -> Path:
    """A run with a stock model and two arms, and a hostile opening."""
    root = folder / "test"
    run = make_run(root)
    stock = [str(root.parent / "stock-model")]
    evaluate = run.recipe.evaluate.model_copy(update={"stock": stock})
    (root / "recipe.toml").write_text(dump(run.recipe.model_copy(update={"evaluate": evaluate})))
    prompts = read_json(root / "corpus/prompts.json")
    hostile = {"id": "opening-3", "text": HOSTILE, "source": HOSTILE, "document_id": None}
    write_json(root / "corpus/prompts.json", [*prompts, hostile | {"true_text": HOSTILE}])
    return root
