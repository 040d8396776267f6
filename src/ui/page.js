/**
 * The operator's page.
 *
 * Owns what stands on it; the data come from the admin API, the moment of each change from `/events`. Invariants: every
 * text goes in as text, never as markup; the key is kept in this tab alone and travels in a header; a row that is not
 * on the page costs nothing. A framework was rejected: it would be larger than the page.
 */

const KEY = "mcpproxy.key";
const PAGE_SIZE = 200;
const MAX_EVENTS = 30;
/** Many changes at once are one reload. */
const RELOAD_MS = 250;
const RETRY_MS = 2_000;
const CATEGORIES = ["connected", "disconnected", "sleeping", "disabled", "auto_disabled", "quarantined"];
/** What a person may do with a server of each category. */
const ACTIONS = {
  connected: ["restart", "disable", "quarantine"],
  disconnected: ["restart", "disable", "quarantine"],
  sleeping: ["connect", "enable", "disable"],
  disabled: ["enable"],
  auto_disabled: ["enable", "disable"],
  quarantined: ["approve", "reject"],
};

const byId = (id) => document.getElementById(id);
const filters = { category: "", group: "", q: "", limit: PAGE_SIZE };
/** The servers whose details a person looks at, and the row that shows them; the rows of servers are made anew with each load. */
const opened = new Map();
let asked = 0;
let shown = 0;
let lastId;
let reloading;
let reader;

/** Makes an element; what is given as content is text or an element. */
function make(tag, { on = {}, ...given } = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, String(value));
  for (const [type, listener] of Object.entries(on)) element.addEventListener(type, listener);
  element.append(...content.map((part) => (part instanceof Node ? part : String(part ?? ""))));
  return element;
}

function tell(message) {
  byId("notice").textContent = message ?? "";
  byId("notice").hidden = !message;
}

/** What stands on the page while nobody answers is old: it is grey until somebody does, and then asked for anew. */
function setAway(isAway) {
  if (document.body.classList.contains("away") && !isAway) {
    tell();
    reloadSoon();
  }
  document.body.classList.toggle("away", isAway);
}

/** A fetch that tells whether the proxy is there. */
async function reach(path, given) {
  try {
    const response = await fetch(path, given);
    setAway(false);
    return response;
  } catch (error) {
    // Any other one was not the network's.
    if (!(error instanceof TypeError)) throw error;
    setAway(true);
    // Nobody tries again for a person who is asked for the key.
    const message = byId("main").hidden ? "The proxy is away" : "The proxy is away; trying again";
    tell(message);
    throw new Error(message, { cause: error });
  }
}

/** Asks the API; whoever has no key, or a wrong one, is asked for it. */
async function ask(path, { method = "GET", body } = {}) {
  const response = await reach(`/api/v1${path}`, {
    method,
    headers: { "X-API-Key": sessionStorage.getItem(KEY) ?? "", "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  if (response.status === 401) askForKey(answer.error);
  if (!answer.success) throw new Error([answer.error, answer.hint].filter(Boolean).join(". "));
  return answer.data;
}

/** Does something for a person, who reads what went wrong. */
async function attempt(work) {
  try {
    tell();
    await work();
  } catch (error) {
    tell(error.message);
  }
}

function askForKey(why) {
  sessionStorage.removeItem(KEY);
  reader?.abort();
  byId("main").hidden = true;
  byId("leave").hidden = true;
  byId("door").hidden = false;
  byId("key").focus();
  tell(why);
}

async function start() {
  await loadGroups();
  await load();
  byId("door").hidden = true;
  byId("main").hidden = false;
  byId("leave").hidden = false;
  void follow();
}

async function loadGroups() {
  const { groups } = await ask("/groups");
  const chosen = filters.group;
  const options = groups.map(({ id, name, server_count: size }) =>
    make("option", { value: id }, `${name} (${size})`),
  );
  byId("group").replaceChildren(make("option", { value: "" }, "All groups"), ...options);
  byId("group").value = chosen;
}

async function load() {
  const given = Object.entries(filters).filter(([, value]) => value !== "");
  asked += 1;
  const turn = asked;
  const { servers, stats, total, next_cursor: next } = await ask(`/servers?${new URLSearchParams(given)}`);
  // An answer that was overtaken by a later one is old.
  if (turn < shown) return;
  shown = turn;
  byId("state").textContent = `${stats.total_servers} servers, ${stats.total_tools} tools`;
  byId("categories").replaceChildren(...CATEGORIES.map((category) => categoryButton(category, stats)));
  // Details stay until newer ones are there.
  const rows = servers.flatMap((server) => [serverRow(server), opened.get(server.name)?.row]);
  byId("servers").replaceChildren(...rows.filter(Boolean));
  byId("none").hidden = servers.length > 0;
  byId("none").textContent = stats.total_servers > 0 ? "No server matches" : "There is no server yet";
  byId("more").hidden = next === undefined;
  byId("more").textContent = `Show more of ${total ?? "all"}`;
  const names = servers.map(({ name }) => name).filter((name) => opened.has(name));
  await Promise.all(names.map((name) => attempt(() => showDetails(name))));
}

function categoryButton(category, stats) {
  const isChosen = filters.category === category;
  const on = {
    click: () => {
      filters.category = isChosen ? "" : category;
      void attempt(load);
    },
  };
  const text = `${category.replace("_", "-")} ${stats[`${category}_servers`] ?? 0}`;
  return make("button", { type: "button", class: category, "aria-pressed": isChosen, on }, text);
}

/** All that decides what is started or reached: an address beside a command is no reason to hide the command. */
function definitionOf({ command, args = [], url, working_dir: folder, env = {}, headers = {} }) {
  const named = (what, values) =>
    Object.keys(values).length > 0 ? `${what} ${Object.keys(values).join(", ")}` : "";
  const started = [command, ...args].filter(Boolean).join(" ");
  const parts = [started, url, folder && `in ${folder}`, named("with", env), named("sending", headers)];
  return parts.filter(Boolean).join("\n");
}

function serverRow(server) {
  const { name, category, tool_count: tools, last_error: error, health } = server;
  const where = definitionOf(server);
  // Whoever approves a server has to see what that starts.
  const about = category === "quarantined" ? where : (server.description ?? where);
  const click = () => void attempt(() => toggleDetails(name));
  const actions = ACTIONS[category].map((action) => actionButton({ name, action, where }));
  return make(
    "tr",
    { "data-server": name },
    make(
      "td",
      {},
      make(
        "button",
        { type: "button", class: "name", "aria-expanded": opened.has(name), on: { click } },
        name,
      ),
      make("div", { class: "dim" }, about),
    ),
    make("td", { class: `${category} brief`, title: server.connection_state }, category.replace("_", "-")),
    make("td", { class: "brief", "data-label": "tools" }, tools),
    make(
      "td",
      { class: "dim why" },
      make("div", {}, error),
      make("div", {}, health.detail === error ? "" : health.detail),
    ),
    make("td", { class: "brief" }, ...actions),
  );
}

function actionButton({ name, action, where }) {
  const act = async (event) => {
    const question =
      action === "approve" ? `Approve '${name}'? This will be started or reached:\n${where}` : "";
    if (question !== "" && !confirm(question)) return;
    event.target.disabled = true;
    await attempt(async () => {
      await ask(`/servers/${encodeURIComponent(name)}/${action}`, { method: "POST" });
      await load();
    });
    event.target.disabled = false;
  };
  return make("button", { type: "button", on: { click: (event) => void act(event) } }, action);
}

async function toggleDetails(name) {
  const known = opened.get(name);
  if (known !== undefined) {
    known.row?.remove();
    opened.delete(name);
    rowOf(name)?.querySelector(".name").setAttribute("aria-expanded", "false");
    return;
  }
  const details = { asked: 0, shown: 0 };
  opened.set(name, details);
  try {
    await showDetails(name);
  } catch (error) {
    if (details.row === undefined && opened.get(name) === details) opened.delete(name);
    throw error;
  }
}

/** The tools of a server, and what its process said last. */
async function showDetails(name) {
  const details = opened.get(name);
  details.asked += 1;
  const turn = details.asked;
  const path = `/servers/${encodeURIComponent(name)}`;
  const [{ tools }, { logs }] = await Promise.all([ask(`${path}/tools`), ask(`${path}/logs`)]);
  // Meanwhile a person may have closed it, or a later answer be there.
  if (opened.get(name) !== details || turn < details.shown) return;
  const list = tools.map(({ name: tool, description, call_with: variant, enabled }) =>
    make(
      "li",
      {},
      make("b", {}, tool),
      ` ${description} `,
      make("span", { class: "dim" }, enabled ? variant : "off"),
    ),
  );
  const cell = make("td", { colspan: 5 }, make("ul", {}, ...list));
  if (logs.length > 0) cell.append(make("pre", { class: "dim" }, logs.join("\n")));
  details.row?.remove();
  Object.assign(details, { shown: turn, row: make("tr", { class: "details" }, cell) });
  rowOf(name)?.querySelector(".name").setAttribute("aria-expanded", "true");
  rowOf(name)?.after(details.row);
}

function rowOf(name) {
  return document.querySelector(`tr[data-server="${CSS.escape(name)}"]`);
}

/** Reads events until the key is gone; whoever comes back goes on after the last one. */
async function follow() {
  reader?.abort();
  const own = new AbortController();
  reader = own;
  while (!own.signal.aborted) {
    try {
      const since = lastId === undefined ? {} : { "Last-Event-ID": String(lastId) };
      const headers = { "X-API-Key": sessionStorage.getItem(KEY) ?? "", ...since };
      const response = await reach("/events", { headers, signal: own.signal });
      if (response.status === 401) return askForKey("The key is not taken any more");
      if (response.ok) await readStream(response.body);
    } catch {
      // The proxy is away; it is tried again.
    }
    if (!own.signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function readStream(body) {
  let rest = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) takeBlock(block);
  }
}

function takeBlock(block) {
  const lines = block.split(/\r?\n/);
  const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
  if (data.length === 0) return;
  const event = JSON.parse(data.join("\n"));
  // The snapshot at the beginning is no event: what happened before it may not be on the page.
  if (typeof event.id !== "number") return reloadSoon();
  lastId = event.id;
  const facts = event.data.reason ?? event.data.message ?? event.data.tool ?? "";
  const text = `${new Date(event.time).toLocaleTimeString()} ${event.type} ${event.server ?? ""} ${facts}`;
  byId("events").prepend(make("li", {}, text));
  while (byId("events").children.length > MAX_EVENTS) byId("events").lastElementChild.remove();
  if (event.type !== "tool_called" && event.type !== "log") reloadSoon();
}

function reloadSoon() {
  reloading ??= setTimeout(() => {
    reloading = undefined;
    void attempt(async () => {
      await loadGroups();
      await load();
    });
  }, RELOAD_MS);
}

function listen() {
  let typing;
  byId("q").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      filters.q = byId("q").value.trim();
      filters.limit = PAGE_SIZE;
      void attempt(load);
    }, RELOAD_MS);
  });
  byId("group").addEventListener("change", () => {
    filters.group = byId("group").value;
    void attempt(load);
  });
  byId("more").addEventListener("click", () => {
    filters.limit += PAGE_SIZE;
    void attempt(load);
  });
  byId("leave").addEventListener("click", () => askForKey());
  byId("door").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("key").value.trim());
    byId("key").value = "";
    void attempt(start);
  });
}

/** A key that came in the address is taken out of it at once. */
function takeKeyOfAddress() {
  const address = new URL(location.href);
  const key = address.searchParams.get("apikey");
  if (key === null) return;
  sessionStorage.setItem(KEY, key);
  address.searchParams.delete("apikey");
  history.replaceState(undefined, "", address);
}

takeKeyOfAddress();
listen();
if (sessionStorage.getItem(KEY) === null) askForKey();
else void attempt(start);
