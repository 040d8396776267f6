/**
 * The verbs of `servers` in the table of what the command line understands.
 *
 * Owns their words, flags and what they are for, and the flags that groups have as well. Invariant: what selects servers
 * is written the same for each verb. Flags written out with each verb were rejected: one of ten would differ.
 */

/** Looking before doing. */
export const DRY_RUN = "--dry-run | tell what it would do, and do nothing";
const FILTERS = [
  "--category CATEGORY | of these categories, parted by commas",
  "-g, --group GROUP | in this group, or in one below it",
  "-q, --q TEXT | with this text in name, description, URL or command",
  "--protocol PROTOCOL | reached this way: stdio, http, sse",
  "--tag TAG | with this tag",
] as const;
const SELECTION = [
  "-a, --all | all servers",
  "-g, --group GROUP | the servers of a group and of those below it",
  "--category CATEGORY | the servers of these categories",
  "--tag TAG | the servers with this tag",
] as const;
const BATCH = [
  ...SELECTION,
  "--not-connected-for DAYS | the servers that were not connected for so long",
  DRY_RUN,
] as const;
/** Waiting for what was asked for. */
export const WAIT = [
  "-w, --wait | until each is connected or has failed; exit 1 when one has",
  "--timeout TIME | how long to wait, as in 90s (default 2m)",
] as const;
const PLAN = [
  "--approve | approve what is started by it; else it is quarantined",
  "--verify | connect on trial first, and change nothing when that fails",
  DRY_RUN,
] as const;
/** A live view. */
export const WATCH = "-w, --watch | live: redrawn on a terminal, else a line for each change";
/** How many. */
export const LIMIT = "--limit N | at most so many";

/** The verbs by their full name. */
export const SERVER_COMMANDS = {
  "servers list": {
    summary: "all servers, or those that are asked for",
    flags: [
      ...FILTERS,
      "--sort KEY | by name, category, tool_count, since, …; '-' before it turns",
      LIMIT,
      "--cursor CURSOR | the page behind 'next_cursor' of the one before",
      WATCH,
    ],
    examples: ["servers list --category disconnected", "servers list --sort -tool_count --limit 10"],
  },
  "servers show": {
    summary: "all about one server",
    words: "SERVER",
    examples: ["servers show github"],
  },
  "servers add": {
    summary: "add a server; it is quarantined until it is approved",
    words: "NAME [URL] [-- COMMAND [ARG…]]",
    flags: [
      "-e, --env KEY=VALUE… | in the environment of its process",
      "--header NAME:VALUE… | with every request",
      "--working-dir DIR | where its process runs",
      "--protocol PROTOCOL | stdio, http, streamable-http, sse or auto",
      "--description TEXT | what it is for",
      "--mode MODE | active, lazy_loading or disabled",
      "-g, --group GROUP… | put it into a group",
      "--tag TAG… | give it a tag",
      ...PLAN,
      "--if-not-exists | a server that is there already is no failure",
    ],
    examples: [
      "servers add docs https://docs.example/mcp",
      "servers add files -- npx -y server-files ~/docs",
    ],
  },
  "servers patch": {
    summary: "change some keys of a server",
    words: "SERVER KEY=VALUE… | JSON",
    flags: [...PLAN],
    examples: ["servers patch github startup_mode=lazy_loading", `servers patch github '{"tags": ["a"]}'`],
    note: "A value is read as JSON where it is JSON, else as text; null takes the key away.",
  },
  "servers remove": {
    summary: "remove servers",
    words: "[SERVER…]",
    flags: [
      ...SELECTION,
      "-y, --yes | do not ask, when they are not named",
      "--if-exists | one that is not there is no failure",
    ],
    examples: ["servers remove old-one", "servers remove --category auto_disabled --yes"],
  },
  "servers rename": {
    summary: "give a server another name; it keeps its history",
    words: "SERVER NAME",
    examples: ["servers rename gh github"],
  },
  "servers enable": {
    summary: "enable servers",
    words: "[SERVER…]",
    flags: [...BATCH, ...WAIT],
    examples: ["servers enable github slack", "servers enable --group work --wait"],
  },
  "servers disable": {
    summary: "disable servers",
    words: "[SERVER…]",
    flags: [...BATCH],
    examples: ["servers disable github", "servers disable --not-connected-for 30 --dry-run"],
  },
  "servers restart": {
    summary: "connect servers anew",
    words: "[SERVER…]",
    flags: [...BATCH, ...WAIT],
    examples: ["servers restart github --wait", "servers restart --category disconnected"],
  },
  "servers quarantine": {
    summary: "hold servers until they are approved",
    words: "[SERVER…]",
    flags: [...BATCH],
    examples: ["servers quarantine github"],
  },
  "servers approve": {
    summary: "let servers out of quarantine",
    words: "[SERVER…]",
    flags: [...SELECTION, ...WAIT],
    examples: ["servers approve github", "servers approve --all"],
  },
  "servers reject": {
    summary: "disable servers that are in quarantine",
    words: "[SERVER…]",
    flags: [...SELECTION],
    examples: ["servers reject shady"],
  },
  "servers connect": {
    summary: "connect servers now",
    words: "[SERVER…]",
    flags: [...SELECTION, ...WAIT],
    examples: ["servers connect github --wait"],
  },
  "servers disconnect": {
    summary: "disconnect servers until they are connected again",
    words: "[SERVER…]",
    flags: [...SELECTION],
    examples: ["servers disconnect github"],
  },
  "servers tools": {
    summary: "the tools of a server",
    words: "SERVER",
    examples: ["servers tools github"],
  },
  "servers logs": {
    summary: "what a server writes to stderr",
    words: "SERVER",
    flags: ["-f, --follow | go on with what is new", "-n, --tail N | the last N lines (default 50)"],
    examples: ["servers logs github -f"],
  },
} as const;
