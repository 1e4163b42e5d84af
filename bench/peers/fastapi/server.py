"""What people run today: verify the signature, parse the document, handle it in memory. Nothing is kept."""

import hashlib
import hmac
import json
import os

from fastapi import FastAPI, HTTPException, Request

SECRET = os.environ["BENCH_SECRET"].encode()

app = FastAPI()
commits_by_repository: dict[str, int] = {}


@app.post("/webhooks/github", status_code=202)
async def github(request: Request) -> dict[str, str]:
    body = await request.body()
    expected = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("x-hub-signature-256", "")):
        raise HTTPException(status_code=401, detail="bad signature")
    document = json.loads(body)
    if request.headers.get("x-github-event") == "push":
        handle_push(document)
    return {"status": "accepted"}


def handle_push(push: dict) -> None:
    name = push["repository"]["full_name"]
    commits_by_repository[name] = commits_by_repository.get(name, 0) + len(push["commits"])
