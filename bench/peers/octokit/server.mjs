// What people run today: `@octokit/webhooks` verifies and parses, the handler works in memory. Nothing is kept.

import { createServer } from "node:http";
import { Webhooks, createNodeMiddleware } from "@octokit/webhooks";

const webhooks = new Webhooks({ secret: process.env.BENCH_SECRET });
const commitsByRepository = new Map();

webhooks.on("push", ({ payload }) => {
  const name = payload.repository.full_name;
  commitsByRepository.set(name, (commitsByRepository.get(name) ?? 0) + payload.commits.length);
});

createServer(createNodeMiddleware(webhooks, { path: "/webhooks/github" })).listen(Number(process.env.BENCH_PORT), "127.0.0.1");
