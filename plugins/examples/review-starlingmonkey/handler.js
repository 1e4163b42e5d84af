// Asks for a second pair of eyes on large pull requests.

import { document as settings } from "hookyard:plugin/config@0.1.0";
import { publish } from "hookyard:plugin/emit@0.1.0";
import { write } from "hookyard:plugin/log@0.1.0";

const text = (bytes) => new TextDecoder().decode(bytes);
const json = (value) => new TextEncoder().encode(JSON.stringify(value));

export const handler = {
  handle(delivery) {
    if (delivery.event !== "pull_request") return { tag: "skip", val: `no interest in ${delivery.event}` };
    const { pull_request } = JSON.parse(text(delivery.document));
    const lines = (pull_request.additions ?? 0) + (pull_request.deletions ?? 0);
    write("info", `counted ${lines}`, []);
    if (lines < JSON.parse(settings()).lines_min) return { tag: "skip", val: `${lines} changed lines are few enough` };
    publish("review-wanted", "application/json", json({ title: pull_request.title, lines }));
    return { tag: "ack" };
  },
};
