/**
 * The reference of the API as a page.
 *
 * Owns how `/openapi.json` is read by a person: routes by noun, each with what it takes and answers. Invariants: every
 * text goes in as text, never as markup; shapes are written out only for the route that is opened.
 */

/** Deeper shapes are named only. */
const MAX_DEPTH = 6;

const byId = (id) => document.getElementById(id);

function make(tag, given = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, String(value));
  element.append(...content.map((part) => (part instanceof Node ? part : String(part ?? ""))));
  return element;
}

const response = await fetch("/openapi.json");
const reference = await response.json();

/** A shape that is referred to by name. */
function named({ $ref: ref }) {
  const name = ref.slice(ref.lastIndexOf("/") + 1);
  return { name, shape: reference.components.schemas[name] ?? {} };
}

/** A shape as text, close to the JSON it describes. */
function textOf(shape, indent = "", depth = 0) {
  if (shape.$ref !== undefined) {
    const { name, shape: inner } = named(shape);
    return depth >= 2 ? name : textOf(inner, indent, depth);
  }
  const either = shape.anyOf ?? shape.oneOf;
  if (either !== undefined) return either.map((one) => textOf(one, indent, depth + 1)).join(" | ");
  if (shape.const !== undefined) return JSON.stringify(shape.const);
  if (shape.enum !== undefined) return shape.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (shape.type === "array") return `[${textOf(shape.items ?? {}, indent, depth + 1)}, …]`;
  if (shape.type !== "object") return shape.type ?? "anything";
  const properties = Object.entries(shape.properties ?? {});
  if (properties.length === 0) {
    const { additionalProperties: rest } = shape;
    return typeof rest === "object" ? `{ [name]: ${textOf(rest, indent, depth + 1)} }` : "{ … }";
  }
  if (depth > MAX_DEPTH) return "{ … }";
  const required = new Set(shape.required ?? []);
  const inner = `${indent}  `;
  const lines = properties.map(([name, property]) => {
    const note = property.description === undefined ? "" : `  // ${property.description}`;
    return `${inner}${name}${required.has(name) ? "" : "?"}: ${textOf(property, inner, depth + 1)}${note}`;
  });
  return `{\n${lines.join("\n")}\n${indent}}`;
}

function parameterRow({ name, in: place, required, schema, description }) {
  const kind = `${place}${required ? ", required" : ""}`;
  return make(
    "tr",
    {},
    make("td", {}, make("code", {}, name)),
    make("td", { class: "dim" }, kind),
    make("td", {}, make("code", {}, textOf(schema))),
    make("td", {}, description),
  );
}

function bodyOf(content) {
  return Object.entries(content ?? {}).map(([media, { schema }]) =>
    media === "application/json" ? make("pre", {}, textOf(schema)) : make("p", { class: "dim" }, media),
  );
}

/** What is behind a route's line; made when it is opened. */
function detailsOf({ description, parameters = [], requestBody, responses, operationId }) {
  const parts = [make("p", {}, description), make("p", { class: "dim" }, `operationId: ${operationId}`)];
  if (parameters.length > 0) parts.push(make("table", {}, ...parameters.map(parameterRow)));
  if (requestBody !== undefined) parts.push(make("h4", {}, "Body"), ...bodyOf(requestBody.content));
  for (const [status, answer] of Object.entries(responses)) {
    const isError = answer["x-codes"] !== undefined;
    parts.push(make("h4", {}, `${status} `, make("span", { class: "dim" }, answer.description)));
    if (!isError) parts.push(...bodyOf(answer.content));
  }
  return parts;
}

function routeOf([path, method, operation]) {
  const line = make(
    "summary",
    {},
    make("span", { class: "method" }, method.toUpperCase()),
    make("code", {}, path),
    " ",
    make("span", { class: "dim" }, operation.summary),
  );
  const element = make("details", { id: operation.operationId }, line);
  let isMade = false;
  element.addEventListener("toggle", () => {
    if (isMade || !element.open) return;
    isMade = true;
    element.append(...detailsOf(operation));
  });
  return { element, words: `${method} ${path} ${JSON.stringify(operation)}`.toLowerCase() };
}

function shapeOf(name, shape) {
  const line = make(
    "summary",
    {},
    make("code", {}, name),
    " ",
    make("span", { class: "dim" }, shape.description),
  );
  const element = make("details", { id: `shape-${name}` }, line, make("pre", {}, textOf(shape)));
  return { element, words: `${name} ${JSON.stringify(shape)}`.toLowerCase() };
}

const all = Object.entries(reference.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => [path, method, operation]),
);
const routes = [];
for (const { name, description } of reference.tags) {
  const own = all.filter(([, , { tags }]) => tags[0] === name).map(routeOf);
  routes.push(...own);
  byId("tags").append(make("a", { href: `#tag-${name}` }, name));
  const elements = own.map(({ element }) => element);
  byId("routes").append(make("section", {}, make("h2", { id: `tag-${name}` }, description), ...elements));
}
const shapes = Object.entries(reference.components.schemas).map(([name, shape]) => shapeOf(name, shape));
routes.push(...shapes);
byId("tags").append(make("a", { href: "#shapes" }, "shapes"));
byId("routes").append(
  make(
    "section",
    {},
    make("h2", { id: "shapes" }, "Shapes with a name"),
    ...shapes.map(({ element }) => element),
  ),
);
byId("title").textContent = `${reference.info.title} ${reference.info.version}`;
byId("about").textContent = reference.info.description;
byId("q").addEventListener("input", () => {
  const wanted = byId("q").value.toLowerCase().split(/\s+/);
  for (const { element, words } of routes) element.hidden = !wanted.every((word) => words.includes(word));
  for (const section of byId("routes").children) {
    section.hidden = [...section.querySelectorAll("details")].every(({ hidden }) => hidden);
  }
});
const linked = location.hash === "" ? undefined : byId(location.hash.slice(1));
if (linked instanceof HTMLDetailsElement) linked.open = true;
