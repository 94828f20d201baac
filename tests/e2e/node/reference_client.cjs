// PostHog's own client, whose requests were generated from PostHog's OpenAPI, pointed at Paperround.
//
// Reads {"url", "key", "insight"} on standard input; prints what each step answered as one JSON object.
// The packages are found through NODE_PATH.
"use strict";

const { readFileSync } = require("node:fs");
const { PostHogAgentToolkit } = require("@posthog/agent-toolkit");

const given = JSON.parse(readFileSync(0, "utf8"));
const { api, stateManager } = new PostHogAgentToolkit({
  posthogApiToken: given.key,
  posthogApiBaseUrl: given.url,
}).getContext();

async function main() {
  const where = await whereAmI();
  const subscriptions = await oneSubscription({ project_id: where.state.projectId });
  console.log(JSON.stringify({ ...where, ...subscriptions }));
}

// The answers to these are checked by the client itself, against its zod schemas.
async function whereAmI() {
  const state = await stateManager.setDefaultOrganizationAndProject();
  const organizations = await good(api.organizations().list());
  const organization = await good(api.organizations().get({ orgId: state.organizationId }));
  const projects = await good(api.organizations().projects({ orgId: state.organizationId }).list());
  const project = await good(api.projects().get({ projectId: state.projectId }));
  const insights = await good(api.insights({ projectId: state.projectId }).list());
  return { state, organizations, organization, projects, project, insights };
}

async function good(promise) {
  const answer = await promise;
  if (!answer.success) throw answer.error;
  return answer.data;
}

async function oneSubscription(project) {
  const all = "/api/projects/{project_id}/subscriptions/";
  const one = "/api/environments/{project_id}/subscriptions/{id}/";
  const send = (method, path, options = {}) => api.generated.request(method, path, { path: project, ...options });

  const created = await send("post", all, {
    body: {
      insight: given.insight,
      target_type: "email",
      target_value: "ann@example.org",
      frequency: "weekly",
      byweekday: ["monday"],
      start_date: "2100-01-04T09:00:00Z",
      title: "Sales",
      invite_message: "Have a look",
    },
  });
  const path = { ...project, id: created.id };
  const listed = await send("get", all, { query: { limit: 1 } });
  const retrieved = await send("get", one, { path });
  const patched = await send("patch", one, { path, body: { interval: 2 } });
  const put = await send("put", one, { path, body: { ...patched, title: "Sales, every fortnight" } });
  const tested = await send("post", `${one}test-delivery/`, { path, withResponse: true });
  const deliveries = await settled(() => send("get", `${one}deliveries/`, { path }));
  const delivery = await send("get", `${one}deliveries/${deliveries.results[0].id}/`, { path });
  const removed = await send("patch", one, { path, body: { deleted: true } });
  const left = await send("get", all);
  const refused = await Promise.allSettled([
    send("delete", one, { path }),
    send("post", `${one}test-delivery/`, { path }),
    send("patch", one, { path, body: { interval: 0 } }),
  ]);
  return {
    created, listed, retrieved, patched, put, deliveries, delivery, removed, left,
    tested: [tested.status, tested.data ?? null],
    refused: refused.map(({ reason }) => reason.message),
  };
}

async function settled(list) {
  for (;;) {
    const page = await list();
    if (page.results.every(({ status }) => status !== "starting")) return page;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

main().catch((problem) => {
  console.error(problem);
  process.exitCode = 1;
});
