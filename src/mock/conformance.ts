/**
 * The tools, prompts and resources whose names and behaviour the MCP conformance suite fixes.
 *
 * Owns `@modelcontextprotocol/conformance`'s expectations of a server so far as one request carries them: contents,
 * logging, progress, errors, sampling and elicitation (legacy: a request to the client; modern: `input_required`). Not here: reconnection of a
 * cut stream, tasks, tampered request states, header checks. The suite's own example server was rejected: it is an SDK server.
 */
import type { ToolDefinition } from "../core/model.ts";
import { isModernMessage, pause } from "./message.ts";
import type { Message, Peer, Result } from "./message.ts";

const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const STEP_MS = 50;
const SETTLE_MS = 5;

type Call = (context: CallContext) => Result | undefined | Promise<Result | undefined>;

interface CallContext {
  readonly args: Result;
  readonly params: Result;
  readonly message: Message;
  readonly peer: Peer;
}

/** What the suite's tool asks of the client, the key of its answer in the modern era, and how it is told. */
interface Question {
  readonly method: string;
  readonly params: (args: Result) => object;
  readonly key: string;
  readonly tell: (answer: Result) => string;
}

const elicit = (message: string, properties: object, required?: readonly string[]): object => ({
  message,
  requestedSchema: { type: "object", properties, ...(required && { required }) },
});
const told =
  (start: string) =>
  ({ action, content }: Result): string =>
    `${start}: action=${String(action)}, content=${JSON.stringify(content ?? {})}`;

const DEFAULTS = {
  name: { type: "string", default: "John Doe" },
  age: { type: "integer", default: 30 },
  score: { type: "number", default: 95.5 },
  status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
  verified: { type: "boolean", default: true },
};

const titled = (first: string, noun: string): readonly object[] => [
  { const: "value1", title: `${first} ${noun}` },
  { const: "value2", title: `Second ${noun}` },
  { const: "value3", title: `Third ${noun}` },
];

const ENUMS = {
  untitledSingle: { type: "string", enum: ["option1", "option2", "option3"] },
  titledSingle: { type: "string", oneOf: titled("First", "Option") },
  legacyEnum: {
    type: "string",
    enum: ["opt1", "opt2", "opt3"],
    enumNames: ["Option One", "Option Two", "Option Three"],
  },
  untitledMulti: { type: "array", items: { type: "string", enum: ["option1", "option2", "option3"] } },
  titledMulti: { type: "array", items: { anyOf: titled("First", "Choice") } },
};

const USER = {
  username: { type: "string", description: "User's response" },
  email: { type: "string", description: "User's email address" },
};

const sampling = (text: unknown): object => ({
  messages: [{ role: "user", content: { type: "text", text } }],
  maxTokens: 100,
});
const sampled =
  (start: string) =>
  (answer: Result): string =>
    `${start}${(answer["content"] as { readonly text?: string } | undefined)?.text ?? ""}`;
const CAPITAL = "What is the capital of France?";

const QUESTIONS: Readonly<Record<string, Question>> = {
  test_sampling: {
    method: "sampling/createMessage",
    params: (args) => sampling(args["prompt"]),
    key: "sampling",
    tell: sampled("LLM response: "),
  },
  test_elicitation: {
    method: "elicitation/create",
    params: (args) => elicit(String(args["message"]), USER, ["username", "email"]),
    key: "user",
    tell: ({ action, content }) =>
      `User response: action: ${String(action)}, content: ${JSON.stringify(content ?? {})}`,
  },
  test_elicitation_sep1034_defaults: {
    method: "elicitation/create",
    params: () => elicit("Please review the defaults", DEFAULTS),
    key: "defaults",
    tell: told("Elicitation completed"),
  },
  test_elicitation_sep1330_enums: {
    method: "elicitation/create",
    params: () => elicit("Please choose", ENUMS),
    key: "enums",
    tell: told("Elicitation completed"),
  },
  test_input_required_result_elicitation: {
    method: "elicitation/create",
    params: () => elicit("What is your name?", { name: { type: "string" } }, ["name"]),
    key: "user_name",
    tell: ({ content }) => `Hello, ${String((content as Result | undefined)?.["name"])}!`,
  },
  test_input_required_result_sampling: {
    method: "sampling/createMessage",
    params: () => sampling(CAPITAL),
    key: "capital_question",
    tell: sampled(""),
  },
  test_input_required_result_list_roots: {
    method: "roots/list",
    params: () => ({}),
    key: "client_roots",
    tell: ({ roots }) => `Roots: ${JSON.stringify(roots ?? [])}`,
  },
};

const CALLS: Readonly<Record<string, Call>> = {
  test_simple_text: () => texts("This is a simple text response for testing."),
  test_image_content: () => ({ content: [image()] }),
  test_audio_content: () => ({ content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }] }),
  test_embedded_resource: () => ({
    content: [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  }),
  test_multiple_content_types: () => ({
    content: [
      { type: "text", text: "Multiple content types test:" },
      image(),
      embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ],
  }),
  test_error_handling: () => ({
    isError: true,
    ...texts("This tool intentionally returns an error for testing"),
  }),
  test_tool_with_logging: async ({ peer }) => {
    for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
      send(peer, "notifications/message", { level: "info", data });
      if (!data.endsWith("completed")) await pause(STEP_MS, peer.signal);
    }
    return texts("Tool with logging executed successfully");
  },
  test_tool_with_progress: async ({ peer, params }) => {
    const progressToken = (params["_meta"] as Result | undefined)?.["progressToken"];
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined)
        send(peer, "notifications/progress", { progressToken, progress, total: 100 });
      // A client that reads the last step and the answer at once may drop the step.
      await pause(progress < 100 ? STEP_MS : SETTLE_MS, peer.signal);
    }
    return texts("Tool with progress executed successfully");
  },
  ...Object.fromEntries(
    Object.entries(QUESTIONS).map(([name, question]) => [
      name,
      (context: CallContext) => askClient(question, context),
    ]),
  ),
};

const SCHEMA_TOOL = {
  name: "json_schema_2020_12_tool",
  description: "Tool with JSON Schema 2020-12 features",
  inputSchema: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    $defs: {
      address: { type: "object", properties: { street: { type: "string" }, city: { type: "string" } } },
    },
    properties: { name: { type: "string" }, address: { $ref: "#/$defs/address" } },
    additionalProperties: false,
  },
};

const CALL_TOOLS: readonly ToolDefinition[] = Object.keys(CALLS).map((name) => {
  const argument = name === "test_sampling" ? "prompt" : name === "test_elicitation" ? "message" : undefined;
  return {
    name,
    description: `Conformance: ${name.slice(5).replaceAll("_", " ")}`,
    inputSchema: {
      type: "object",
      ...(argument === undefined
        ? { properties: {} }
        : { properties: { [argument]: { type: "string" } }, required: [argument] }),
    },
  };
});

/** The definitions of the suite's tools. */
export const CONFORMANCE_TOOLS: readonly ToolDefinition[] = [...CALL_TOOLS, SCHEMA_TOOL];

/** Runs one of the suite's tools; undefined when the name is none of them. */
export async function callConformance(message: Message, peer: Peer): Promise<Result | undefined> {
  const { params = {} } = message;
  const name = String(params["name"]);
  if (name === SCHEMA_TOOL.name) return texts(JSON.stringify(params["arguments"] ?? {}));
  if (!Object.hasOwn(CALLS, name)) return undefined;
  return CALLS[name]?.({ args: (params["arguments"] ?? {}) as Result, params, message, peer });
}

/** Answers the suite's requests beside tools; undefined for unknown methods. */
export function answerOther({ method = "", params = {} }: Message): Result | undefined {
  switch (method) {
    case "prompts/list":
      return { prompts: PROMPTS };
    case "prompts/get":
      return prompt(String(params["name"]), (params["arguments"] ?? {}) as Result);
    case "resources/list":
      return {
        resources: ["test://static-text", "test://static-binary", "test://watched-resource"].map((uri) => ({
          uri,
          name: uri.slice(7),
        })),
      };
    case "resources/templates/list":
      return { resourceTemplates: [{ uriTemplate: "test://template/{id}/data", name: "template" }] };
    case "resources/read":
      return readResource(String(params["uri"]));
    case "resources/subscribe":
    case "resources/unsubscribe":
      return {};
    case "completion/complete":
      return { completion: { values: ["paris", "park", "party"], total: 3, hasMore: false } };
    default:
      return undefined;
  }
}

async function askClient(question: Question, { args, params, message, peer }: CallContext): Promise<Result> {
  const request = { method: question.method, params: question.params(args) };
  if (isModernMessage(message)) {
    const given = (params["inputResponses"] as Result | undefined)?.[question.key];
    if (given !== undefined) return texts(question.tell(given as Result));
    return { resultType: "input_required", inputRequests: { [question.key]: request } };
  }
  if (peer.ask === undefined) return { isError: true, ...texts("The transport cannot ask the client") };
  try {
    return texts(question.tell((await peer.ask(request.method, request.params)) as Result));
  } catch (error) {
    return { isError: true, ...texts(`The client refused: ${String(error)}`) };
  }
}

function send({ notify }: Peer, method: string, params: Result): void {
  void notify({ jsonrpc: "2.0", method, params });
}

function texts(text: string): Result {
  return { content: [{ type: "text", text }] };
}

function image(): Result {
  return { type: "image", data: PNG, mimeType: "image/png" };
}

function embedded(uri: string, mimeType: string, text: string): Result {
  return { type: "resource", resource: { uri, mimeType, text } };
}

const PROMPTS = [
  { name: "test_simple_prompt", description: "A prompt without arguments" },
  {
    name: "test_prompt_with_arguments",
    description: "A prompt with two arguments",
    arguments: ["arg1", "arg2"].map((name) => ({ name, description: name, required: true })),
  },
  {
    name: "test_prompt_with_embedded_resource",
    description: "A prompt with a resource",
    arguments: [{ name: "resourceUri", description: "resourceUri", required: true }],
  },
  { name: "test_prompt_with_image", description: "A prompt with an image" },
];

function prompt(name: string, args: Result): Result {
  const says = (...contents: readonly object[]): Result => ({
    messages: contents.map((content) => ({ role: "user", content })),
  });
  const text = (words: string): object => ({ type: "text", text: words });
  switch (name) {
    case "test_simple_prompt":
      return says(text("This is a simple prompt for testing."));
    case "test_prompt_with_arguments":
      return says(
        text(`Prompt with arguments: arg1='${String(args["arg1"])}', arg2='${String(args["arg2"])}'`),
      );
    case "test_prompt_with_embedded_resource":
      return says(
        embedded(String(args["resourceUri"]), "text/plain", "Embedded resource content for testing."),
        text("Please process the embedded resource above."),
      );
    case "test_prompt_with_image":
      return says(image(), text("Please analyze the image above."));
    default:
      return { error: { code: -32_602, message: `Unknown prompt: ${name}` } };
  }
}

function readResource(uri: string): Result {
  const template = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  if (template !== undefined) {
    const text = JSON.stringify({ id: template, templateTest: true, data: `Data for ID: ${template}` });
    return { contents: [{ uri, mimeType: "application/json", text }] };
  }
  if (uri === "test://static-binary") return { contents: [{ uri, mimeType: "image/png", blob: PNG }] };
  if (uri === "test://static-text" || uri === "test://watched-resource") {
    const text = `This is the content of the ${uri === "test://static-text" ? "static text" : "watched"} resource.`;
    return { contents: [{ uri, mimeType: "text/plain", text }] };
  }
  return { error: { code: -32_002, message: `Resource not found: ${uri}`, data: { uri } } };
}
