"""Asks for a second pair of eyes on large pull requests."""

import json

from wit_world import exports
from wit_world.imports import config, emit, log
from wit_world.imports.types import Delivery, Verdict, Verdict_Ack, Verdict_Skip


class Handler(exports.Handler):
    def handle(self, delivery: Delivery) -> Verdict:
        if delivery.event != "pull_request":
            return Verdict_Skip(f"no interest in {delivery.event}")
        pull_request = json.loads(delivery.document)["pull_request"]
        lines = pull_request.get("additions", 0) + pull_request.get("deletions", 0)
        log.write(log.Level.INFO, f"counted {lines}", [])
        if lines < json.loads(config.document())["lines_min"]:
            return Verdict_Skip(f"{lines} changed lines are few enough")
        body = json.dumps({"title": pull_request["title"], "lines": lines}).encode()
        emit.publish("review-wanted", "application/json", body)
        return Verdict_Ack()
