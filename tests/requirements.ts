/**
 * The promises of mcpproxy that tests hold: id → the promise in one sentence → where it comes from.
 *
 * Owns the list; `verifies(id)` in a test says that this test would go red if the promise were broken, and
 * `requirements_test.ts` fails on a promise without such a test. Invariant: an id, once given, keeps its
 * meaning. Naming tests after ids was rejected: one test often holds two promises, and names read worse.
 */

interface Requirement {
  /** One sentence that can be true or false. */
  readonly promise: string;
  /** Document and section. */
  readonly source: `${"SPEC" | "PROMISES" | "NUMBERS" | "HOUSE"} ${string}`;
}

/** Every promise that a test has to hold. */
export const REQUIREMENTS = {
  "ADMIN-TOOLS-KEY": {
    promise:
      "The management tools are at /mcp/admin for the API key alone, at /mcp only where they are inline, and nowhere for an agent token",
    source: "SPEC §6",
  },
  "ADMIN-TOOLS-NO-APPROVAL": {
    promise:
      "Nothing that comes by the management tools lets a server out of quarantine or starts what no person approved",
    source: "SPEC §3",
  },
  "ADMIN-TOOLS-ONE-PATH": {
    promise:
      "A change by a management tool is the change the admin API makes: the same file, the same events, the same refusals",
    source: "SPEC §6",
  },
  "API-FUZZ": {
    promise:
      "Whatever is sent to any route ends in an answer of a documented status and shape, and never in a fault of ours",
    source: "PROMISES P8",
  },
  "API-GO-FACTS": {
    promise: "Paths, fields, codes and tools that users of the Go proxy know are there and mean the same",
    source: "SPEC §7",
  },
  "API-KEY-REQUIRED": {
    promise: "Every route below /api/v1 answers 401 without the API key and with a wrong one",
    source: "SPEC §7",
  },
  "API-SHAPE": {
    promise:
      "API answers are {success, data} or {success:false, error, code, request_id}, and empty lists are []",
    source: "SPEC §7",
  },
  "APPROVAL-GATE": {
    promise:
      "What a server starts is started only once a person approved it, whatever else is asked, and then once",
    source: "PROMISES T15",
  },
  "AUTH-FAILURES-LIMITED": {
    promise:
      "Whoever sends too many wrong keys is answered 429 for a while, in bounded memory, and whoever holds the key on this machine never is",
    source: "SPEC §7",
  },
  "BATCH-NAMES-FAILED": {
    promise: "A batch does what it can, answers 200, and names each server it refused with the code of why",
    source: "SPEC §4",
  },
  "BATCH-ONE-CHANGE": {
    promise: "A batch is one revision and one write, one event for each changed server and one of the group",
    source: "SPEC §4",
  },
  "BATCH-ONE-WRITE": {
    promise: "A batch is one intent, one file write, one fsync each of file and folder, and one exchange",
    source: "SPEC §2",
  },
  "BINARY-SMOKE": {
    promise: "The compiled binary passes the smoke test of the source from an empty folder",
    source: "SPEC §10",
  },
  "CACHE-PRIVATE": {
    promise: "A cut result is read on by the principal that made the call, and by no other",
    source: "PROMISES T06",
  },
  "CACHE-READ-WHOLE": {
    promise: "Every result cut at tool_response_limit has a key under which read_cache gives back all of it",
    source: "SPEC §6",
  },
  "CALL-ARGS-CHECKED": {
    promise:
      "Arguments are checked against the schema before they travel, and the error has the schema and the fault",
    source: "SPEC §6",
  },
  "CALL-DEAD-SERVER": {
    promise:
      "A call to a server that is dead, off or faulty ends in an error that names the reason and a hint",
    source: "PROMISES P3",
  },
  "CALL-DESTRUCTIVE-GATE": {
    promise: "A tool marked destructive is refused through call_tool_read and call_tool_write",
    source: "SPEC §6",
  },
  "CALL-ENDS-IN-TIME": {
    promise: "A call to an upstream that never answers ends within its timeout + 250 ms",
    source: "PROMISES P3",
  },
  "CALL-LIMITS": {
    promise:
      "At most as many calls as configured travel at once, the rest wait in a bounded line for a bounded time",
    source: "SPEC §1",
  },
  "CALL-RESULT-UNCHANGED": {
    promise:
      "Content blocks, structuredContent, isError and _meta of a result are deep-equal to a direct call's",
    source: "SPEC §6",
  },
  "CALL-SCOPED": {
    promise:
      "A token calls through no path what its permissions do not cover: what the tool does counts, not how it is called",
    source: "PROMISES T03",
  },
  "CALL-UNANNOTATED-IS-WRITE": {
    promise: "An unannotated tool is refused through call_tool_read with the name of the right tool",
    source: "SPEC §6",
  },
  "CALL-UNKNOWN-TOOL": {
    promise: "A call of an unknown tool or server is a clear error that offers the nearest known ids",
    source: "SPEC §6",
  },
  "CANARIES-NONE": {
    promise:
      "Secrets of an entry, of a call and of the proxy are in no log, event, answer, export, error or command line",
    source: "PROMISES T17",
  },
  "CHILD-ENV-ALLOW-LIST": {
    promise: "A child process gets the allow-listed variables and the configured ones, and no others",
    source: "SPEC §3",
  },
  "CLI-COMPLETION": {
    promise:
      "Completion offers commands, verbs, flags and values of one table, and the names the running proxy has",
    source: "SPEC §10",
  },
  "CLI-EXIT-CODES": {
    promise: "The command line exits 0 ok, 1 failure, 2 usage, 3 not reachable, 4 configuration",
    source: "SPEC §10",
  },
  "CLI-GO-VERBS": {
    promise:
      "Command lines of the Go proxy do the same here: verbs, flags before and after them, fields, exit codes",
    source: "SPEC §10",
  },
  "CLI-HELP-ALL": {
    promise:
      "Every command and verb has help with usage, flags and an example, no line wider than 80 columns, and it exits 0",
    source: "SPEC §10",
  },
  "CLI-JSON": {
    promise: "With --json a command writes one JSON document to stdout and diagnostics to stderr only",
    source: "SPEC §10",
  },
  "CLI-JSON-UNCHANGED": {
    promise: "With --json a command that reads prints the data of the API unchanged",
    source: "SPEC §10",
  },
  "CLI-NO-DAEMON": {
    promise:
      "Without a running proxy a command says so and exits 3, but for changes of the file, which are as a proxy's own",
    source: "SPEC §10",
  },
  "CLI-NO-ESCAPES": {
    promise:
      "No escape sequence of a server's text reaches a terminal, and what is no terminal gets none at all",
    source: "PROMISES closed by construction 3",
  },
  "CLI-WATCH": {
    promise:
      "A live view is redrawn in place, follows restarts and leaves the terminal as it was; a pipe gets a line for each change",
    source: "SPEC §10",
  },
  "CLIENT-GENERATED": {
    promise:
      "A client that a generator of npm makes of the document type-checks and works against a live proxy",
    source: "SPEC §7",
  },
  "CLIENT-TYPED": {
    promise:
      "The typed client takes and answers what the reference says, and fails with the proxy's own codes",
    source: "SPEC §7",
  },
  "COMMIT-BACKUPS": {
    promise: "The last ten good texts are kept, at most one a minute, and read back as they were",
    source: "SPEC §2",
  },
  "COMMIT-KILL": {
    promise:
      "A commit that is killed at any system call leaves old or new wholly, what was answered, and one truth in file and database",
    source: "PROMISES Crash matrix",
  },
  "COMMIT-POWER": {
    promise:
      "Every disk that a power cut may leave starts with the old or the new configuration; without any one fsync it would not",
    source: "PROMISES Crash matrix",
  },
  "CONFIG-BAD-SERVER-ALONE": {
    promise: "A server with a faulty entry is listed with its fault and never started, and the others go on",
    source: "SPEC §1",
  },
  "CONFIG-CONFLICT": {
    promise: "A change made for another revision is refused with both revisions and changes nothing",
    source: "SPEC §2",
  },
  "CONFIG-DEFAULT-MADE": {
    promise: "Without any configuration file a default one is made with mode 0600",
    source: "SPEC §1",
  },
  "CONFIG-DOCUMENT-DIFFERENCE": {
    promise:
      "A whole document changes what differs from what is shown, as one change, and all that is wrong with it is told at once",
    source: "SPEC §7",
  },
  "CONFIG-DOCUMENT-ROUNDTRIP": {
    promise: "The configuration as it is shown, sent back unchanged, changes nothing and writes nothing",
    source: "SPEC §7",
  },
  "CONFIG-DUPLICATE-NAMES": {
    promise: "Of servers with one name the first wins and each other is reported as a finding",
    source: "SPEC §1",
  },
  "CONFIG-ENV-REFERENCE": {
    promise: "${env:NAME} resolves at use, and its value is never written or shown",
    source: "SPEC §1",
  },
  "CONFIG-FAULT-PLACE": {
    promise:
      "Each fault names file, line, column, key, what is wrong and what would be right, and all are reported",
    source: "SPEC §1",
  },
  "CONFIG-KEY-MISSPELT": {
    promise:
      "A new key that is probably misspelt is refused and the right one named; other unknown keys stay",
    source: "SPEC §1",
  },
  "CONFIG-LISTEN-LOOPBACK": {
    promise: "A listen address without a host means 127.0.0.1 and is reported as a finding",
    source: "SPEC §1",
  },
  "CONFIG-MAP-FORM": {
    promise:
      "mcpServers is read as an array of objects with name and as the map form of Claude Desktop and Cursor",
    source: "SPEC §1",
  },
  "CONFIG-MASK-STAYS": {
    promise:
      "A mask that comes back means the secret that was shown there, or is refused; it never becomes a value",
    source: "SPEC §7",
  },
  "CONFIG-OLD-FIELDS": {
    promise:
      "The old boolean fields are read as startup modes in the documented order, and startup_mode wins",
    source: "SPEC §1",
  },
  "CONFIG-P1-PROPERTY": {
    promise:
      "After any sequence of plans, edits by hand and kills the configuration is wholly old or new, and no comment is lost",
    source: "PROMISES P1",
  },
  "CONFIG-PLAN-DRY": {
    promise: "A plan tells what would change and what would restart, and changes nothing",
    source: "SPEC §4",
  },
  "CONFIG-PRECEDENCE": {
    promise: "A flag wins over a MCPPROXY_* variable, that over the file, and the file over the default",
    source: "SPEC §1",
  },
  "CONFIG-ROLLBACK": {
    promise:
      "A rollback puts a kept text in force, frees nothing from quarantine and starts nothing unapproved",
    source: "SPEC §2",
  },
  "CONFIG-SCHEMA": {
    promise: "mcpproxy config schema prints a JSON Schema that accepts what the loader accepts",
    source: "SPEC §1",
  },
  "CONFIG-STRANGE-NAMES": {
    promise: "Names with spaces, dots, umlauts and __proto__ round-trip or are refused at one place",
    source: "PROMISES Closed by construction",
  },
  "CONFIG-ISOLATION-TOLD": {
    promise: "A configuration that wants servers isolated in containers is told that they are not",
    source: "SPEC §1",
  },
  "CONFIG-TLS-TOLD": {
    promise: "A configuration that wants TLS is told that the proxy listens without",
    source: "SPEC §1",
  },
  "CONFIG-VERIFY": {
    promise:
      "A plan to be verified is committed only when each new definition connects, and else leaves nothing behind",
    source: "SPEC §2",
  },
  "CONNECT-KEEPS-FILE": {
    promise:
      "Connecting a client touches its own entry of the client's file only, and every other byte stays",
    source: "SPEC §10",
  },
  "CONNECT-KEY-PRIVATE": {
    promise:
      "The key is written into a client's file only where it is asked for, and never where others can read it",
    source: "SPEC §10",
  },
  "CONNECT-UNDO": {
    promise:
      "Taking the proxy out of a client's file gives back the bytes there were, or keeps what changed since",
    source: "SPEC §10",
  },
  "CONNECT-WORKS": {
    promise:
      "What is written into a client's file leads to this proxy as it stands there, by URL and by command",
    source: "SPEC §10",
  },
  "CONTRACT-139": {
    promise:
      "Every recorded call of the Go proxy's users is answered as they know it, from source and binary",
    source: "SPEC §7",
  },
  "DIRECT-NAMES": {
    promise:
      "Outward names are unique, short and plain, follow from the tool's id alone and lead back to it; of two equal ones none is served",
    source: "SPEC §6",
  },
  "DIRECT-ONE-PATH": {
    promise:
      "A tool called by its outward name passes every check of a call, and its result arrives uncut and unchanged",
    source: "SPEC §6",
  },
  "DISTRIBUTION-ALL": {
    promise:
      "There is an executable for every platform, built from registry packages alone, with its checksum",
    source: "SPEC §10",
  },
  "DISTRIBUTION-NPM": {
    promise: "The package npm makes installs globally and runs by its name where Bun is",
    source: "SPEC §10",
  },
  "DISTRIBUTION-SAME-BYTES": {
    promise: "The same source gives the same executable",
    source: "SPEC §10",
  },
  "DOCTOR-FINDS": {
    promise:
      "The doctor names what is wrong or waits for a person, each with a hint, and shows what the Go proxy does",
    source: "SPEC §7",
  },
  "EDIT-BYTES": {
    promise: "An edit changes no byte of the configuration outside the edited values and loses no comment",
    source: "PROMISES P1",
  },
  "EDITOR-NO-LOST-SAVE": {
    promise:
      "What an editor saves while the proxy writes is in the file or kept and reported, and no half file is ever in force",
    source: "PROMISES Crash matrix",
  },
  "EVENT-FILTER": {
    promise: "A stream carries what its filters want",
    source: "SPEC §5",
  },
  "EVENT-GAP": {
    promise: "Who returns too late is told of the gap",
    source: "SPEC §5",
  },
  "EVENT-IDS-GO-ON": {
    promise: "Ids of events go on after a restart and after a kill",
    source: "SPEC §5",
  },
  "EVENT-LOGIN": {
    promise: "A server that needs a login is told once by oauth_required, with the id of its move as cause",
    source: "SPEC §5",
  },
  "EVENT-ONCE-IN-ORDER": {
    promise: "Every healthy reader gets each event once and in order",
    source: "SPEC §5",
  },
  "EVENT-REPLAY": {
    promise: "Who returns with its last id misses nothing inside of the ring",
    source: "SPEC §5",
  },
  "EVENT-SCHEMA": {
    promise: "The served schema accepts every kind of event and nothing else",
    source: "SPEC §5",
  },
  "EVENT-SLOW-CLOSED": {
    promise: "A reader that does not read is closed, and costs no other anything",
    source: "PROMISES Clients and events",
  },
  "EVENTS-SCOPED": {
    promise:
      "The stream of an agent has the events of the servers it may reach, and ends when its token does",
    source: "PROMISES T06",
  },
  "EXPLAIN-WHY": {
    promise:
      "Explaining a tool says why it cannot be found or called, and for a query its rank and the parts of its score",
    source: "SPEC §8",
  },
  "FAULTS-IN-PLAIN-WORDS": {
    promise:
      "Where a request gets no answer, people read the host, the reason and its code, and no advice to programmers",
    source: "HOUSE §5",
  },
  "GROUP-HIERARCHY": {
    promise:
      "A group holds its servers and those of the groups below, and circles and missing parents are refused",
    source: "SPEC §4",
  },
  "GUARD-NO-ORPHANS": {
    promise: "After kill -9 of the proxy no process of any child is left within 5 s, also without a restart",
    source: "PROMISES P4",
  },
  "HISTORY-DIFF": {
    promise: "The difference of two texts is exact and shows no secret",
    source: "SPEC §2",
  },
  "HTTP-BIND": {
    promise: "The proxy listens on loopback by default and refuses another interface without authentication",
    source: "PROMISES T02",
  },
  "HTTP-HOST-ORIGIN": {
    promise:
      "Every route refuses a foreign Host or Origin and two Host headers, and no request is forwarded to a foreign target",
    source: "PROMISES T01",
  },
  "HTTP-PROBES": {
    promise: "/livez answers while the loop turns, and /readyz once it listens and the index is restored",
    source: "SPEC §3",
  },
  "HTTP-ROUTE-INVENTORY": {
    promise: "The routes reachable without credentials are an exact allow-list",
    source: "PROMISES T03",
  },
  "IMPORT-FORMS": {
    promise: "The configurations of ten MCP clients are read in their own forms, their references made ours",
    source: "SPEC §10",
  },
  "IMPORT-QUARANTINED": {
    promise:
      "Servers of other clients come in quarantined, this proxy never among them, and nothing else leaves their file",
    source: "PROMISES T15",
  },
  "KEY-0600": {
    promise: "The API key is made on first start, kept in the data dir with mode 0600, and never logged",
    source: "SPEC §1",
  },
  "KEYRING-RESOLVED": {
    promise:
      "${keyring:NAME} is read when a server starts, kept nowhere and shown nowhere; without one the start is not held up",
    source: "SPEC §1",
  },
  "LIST-CHANGED": {
    promise:
      "Clients of both eras hear that their list of tools changed: soon, once for what changes together, and at most once a second",
    source: "PROMISES Upstream faults",
  },
  "LIST-FILTERS": {
    promise:
      "Lists narrow by category, group, text, protocol, tag and mode, sort both ways, and refuse what means nothing",
    source: "SPEC §7",
  },
  "LIST-PAGES": {
    promise: "The pages of a list have every server that stays once, whatever comes and goes between them",
    source: "SPEC §7",
  },
  "LOG-ROTATED": {
    promise:
      "What a server writes to stderr is in a log of its own, opened lazily, rotated and 0600, and a quiet one holds no handle",
    source: "SPEC §3",
  },
  "LOGIN-PATH": {
    promise: "enhance_path gives programs the PATH of the login shell, asked once and in bounded time",
    source: "SPEC §3",
  },
  "MANAGEMENT-SETTINGS": {
    promise:
      "read_only_mode, disable_management and allow_server_add or remove forbid changes by every route, and none of the proxy's own",
    source: "SPEC §1",
  },
  "MCP-ADDRESSES": {
    promise:
      "Each address below /mcp serves its own tools, and a group or server that does not exist, or may not be known, is 404",
    source: "SPEC §6",
  },
  "MCP-BOTH-ERAS": {
    promise: "Legacy clients with sessions and modern clients without get the same tools and results at /mcp",
    source: "SPEC §6",
  },
  "MCP-CLIENTS": {
    promise: "SDK v2 modern, SDK v2 legacy, SDK v1 and the inspector's CLI list and call tools at /mcp",
    source: "SPEC §6",
  },
  "MCP-LIST-PAGES": {
    promise:
      "A list of tools comes in pages; following nextCursor gives each tool once, also when tools come and go meanwhile",
    source: "SPEC §6",
  },
  "MCP-MENU-TOKENS": {
    promise: "The menu of agent tools at /mcp costs at most 1,500 tokens",
    source: "NUMBERS Tokens",
  },
  "MCP-SESSION-IDS": {
    promise: "A missing session id is answered 400, an unknown one 404, and ids of two clients never meet",
    source: "PROMISES Clients and events",
  },
  "MCP-STDIO": {
    promise: "serve --stdio speaks MCP on stdout alone to SDK v1 and SDK v2 clients",
    source: "SPEC §6",
  },
  "NUMBERS-FIRST-START": {
    promise:
      "159 HTTP upstreams are ready and searchable within the bound of NUMBERS beside a bare loop in the same run",
    source: "NUMBERS Production scale",
  },
  "OPENAPI-COMPLETE": {
    promise: "Every route of the proxy stands in the OpenAPI document, and nothing else does",
    source: "SPEC §7",
  },
  "OPENAPI-LAZY": {
    promise: "Nothing of the reference and the pages is read before somebody asks for them",
    source: "SPEC §7",
  },
  "OPENAPI-TRUE": {
    promise:
      "Each real answer of each route fits the shape the document gives it, without a field it does not name",
    source: "SPEC §7",
  },
  "OPENAPI-VALID": {
    promise: "The document at /openapi.json is valid OpenAPI 3.1, and every reference in it resolves",
    source: "SPEC §7",
  },
  "OTLP-NO-CONTENT": {
    promise: "A span holds no argument, no result, no message and no name a caller made up",
    source: "PROMISES T17",
  },
  "OTLP-OFF-PATH": {
    promise:
      "A collector that hangs, fails or is gone fails no call and delays no answer, and its losses are counted",
    source: "PROMISES P7",
  },
  "PAGE-CSP": {
    promise: "Pages load nothing from elsewhere, run no inline script, and their policy forbids both",
    source: "PROMISES T04",
  },
  "PAGE-ESCAPES": {
    promise: "Texts of upstreams stand on the page as text: none of a corpus of stored scripts runs",
    source: "PROMISES T04",
  },
  "PAGE-SWITCH": {
    promise:
      "The operator's page is not there when features.enable_web_ui is false, and a browser at / is led to it else",
    source: "SPEC §7",
  },
  "PERSIST-AUTO-DISABLE": {
    promise:
      "Auto-disables and their ends are written once together, as the mode in force, when the configuration says so, and else never",
    source: "SPEC §1",
  },
  "PREFLIGHT-VERDICT": {
    promise:
      "Preflight tells without connecting whether a tool is ready, will come, is blocked, or is unknown, and why",
    source: "SPEC §10",
  },
  "QUARANTINE-HIDDEN": {
    promise: "Names and texts of a quarantined server's tools come out on no path and in no error",
    source: "PROMISES T09",
  },
  "RECONCILE-ONLY-CHANGED": {
    promise: "A changed configuration touches exactly the servers it names",
    source: "SPEC §2",
  },
  "REGISTRY-HOSTILE": {
    promise: "Whatever a registry answers ends in a list or one error, within its size, time and network",
    source: "PROMISES P8",
  },
  "REGISTRY-ON-DEMAND": {
    promise: "No registry is asked before somebody wants its servers, and then once for some minutes",
    source: "SPEC §7",
  },
  "REGISTRY-QUARANTINED": {
    promise: "A server added from a registry is what the registry says and is quarantined",
    source: "SPEC §3",
  },
  "RELOAD-INVALID-KEEPS": {
    promise: "An edit that cannot be used leaves the last good configuration in force and is told once",
    source: "SPEC §2",
  },
  "RELOAD-ONLY-CHANGED": {
    promise:
      "An edit of the file restarts exactly the servers it changes, and no call to another one notices",
    source: "SPEC §2",
  },
  "RELOAD-WATCH": {
    promise: "A change of the file, of a link on its way or of a folder is seen, and a neighbour's is not",
    source: "SPEC §2",
  },
  "RENAME-KEEPS": {
    promise: "A rename keeps connection, calls and history, and all that is told afterwards has the new name",
    source: "SPEC §3",
  },
  "REQUEST-ID-EVERYWHERE": {
    promise:
      "The request id of an answer is in its error body, in the log line of a failure, and in the activity",
    source: "SPEC §7",
  },
  "SCHEDULE-NO-BARRIER": {
    promise:
      "A hanging server costs the others at most start_patience ÷ places, and nothing waits for the slowest",
    source: "SPEC §3",
  },
  "SCHEDULE-PLACES": {
    promise:
      "Never more attempts start, or wait in silence, than there are places and room, in the documented order",
    source: "SPEC §3",
  },
  "SCALE-FAULTS-FOUND": {
    promise: "Each area of the production-scale suite fails when its subject is broken",
    source: "SPEC §11",
  },
  "SCALE-TARGETS": {
    promise: "A proxy with a fleet of production size keeps every target of the design",
    source: "SPEC §11",
  },
  "SCALE-USER-FILE-KEPT": {
    promise:
      "A user's own configuration is neither written nor started, and none of its values is in a report",
    source: "SPEC §11",
  },
  "SEARCH-FILTER-BEFORE-RANK": {
    promise: "Filters apply before ranking, so that limit is filled when enough tools match",
    source: "SPEC §6",
  },
  "SEARCH-FINDS-IN-WORDS": {
    promise: "A query in plain words finds the tool among real servers, identifiers split and words stemmed",
    source: "SPEC §8",
  },
  "SEARCH-HIDES-OFF-SERVERS": {
    promise: "Tools of quarantined, disabled and auto-disabled servers are never returned by any path",
    source: "SPEC §8",
  },
  "SEARCH-REPLY-TOKENS": {
    promise: "A search reply with 15 hits costs at most 900 tokens and repeats no sentence",
    source: "NUMBERS Tokens",
  },
  "SEARCH-STALE-AFTER-RESTART": {
    promise:
      "After kill -9 and restart search answers from the store, marked stale, before any upstream is connected",
    source: "SPEC §3",
  },
  "SECRETS-MASKED": {
    promise: "Configured secrets appear in no log line, error, API answer or tool result of the proxy",
    source: "PROMISES T17",
  },
  "SESSION-BOUND": {
    promise: "A session is usable only at the address and by the principal that opened it",
    source: "PROMISES T05",
  },
  "SETTINGS-LIVE": {
    promise:
      "Changed settings hold for the next request, those read at the start are named as such, and overrides stay",
    source: "SPEC §2",
  },
  "SIMULATION-INVARIANTS": {
    promise:
      "Under seeded faults, verbs and calls every rule of supervision holds, and a healed world is ready in bounded time",
    source: "PROMISES T29",
  },
  "SOCKET-PRIVATE": {
    promise:
      "The Unix socket opens without a key for its own user alone, at no instant for others, and is gone when the proxy is",
    source: "SPEC §7",
  },
  "START-NEVER-WAITS": {
    promise:
      "The proxy listens and serves known tools before it connects, and hanging upstreams delay no other",
    source: "PROMISES P6",
  },
  "STDIO-ARGV-NO-SHELL": {
    promise: "The command of an upstream runs as its argv, and nothing of it passes through a shell",
    source: "SPEC §3",
  },
  "STDIO-GARBAGE": {
    promise: "Garbage lines on an upstream's stdout cost that line only",
    source: "PROMISES Upstream faults",
  },
  "STDIO-NO-SURVIVORS": {
    promise: "After stopping the proxy no child and no grandchild of it is left, stubborn ones included",
    source: "PROMISES P4",
  },
  "STOP-BOUNDED": {
    promise: "300 children that ignore EOF and TERM are ended within 6 s",
    source: "PROMISES Upstream faults",
  },
  "STORE-CORRUPT-SET-ASIDE": {
    promise: "A corrupt database is set aside and reported, and neither it nor a locked one is ever deleted",
    source: "SPEC §9",
  },
  "STORE-MIGRATES": {
    promise: "The embedded migrations bring an empty and an older database to the schema, in the binary too",
    source: "SPEC §9",
  },
  "STORE-SECOND-PROCESS": {
    promise:
      "A second process on the same data dir is refused with a clear message, also after a kill -9 of the first",
    source: "SPEC §9",
  },
  "SUPERVISE-AUTO-DISABLE": {
    promise:
      "A server is auto-disabled at its threshold of failures in a row, flapping included, over a restart, and its tools are not returned",
    source: "SPEC §3",
  },
  "SUPERVISE-CALL-RULES": {
    promise:
      "A call joins the attempt under way, makes one at once in backoff, and fails at once where trying cannot help",
    source: "SPEC §3",
  },
  "SUPERVISE-CALLS-IN-FLIGHT": {
    promise: "Calls in flight may finish for 5 s when a server is switched off, and are cut by quarantine",
    source: "SPEC §3",
  },
  "SUPERVISE-CASCADE": {
    promise: "While most servers fail at once nothing is counted, the proxy is degraded, and all come back",
    source: "SPEC §3",
  },
  "SUPERVISE-CASCADE-RESTART": {
    promise:
      "Servers that worked when last seen and fail together after a restart count as fallen, a few or those that never worked do not",
    source: "PROMISES Upstream faults",
  },
  "SUPERVISE-CASCADE-UNREACHED": {
    promise:
      "A first start without a network switches nothing off, while hosts that are down among others that answer are",
    source: "PROMISES Upstream faults",
  },
  "SUPERVISE-FAULT-TABLE": {
    promise: "Each fault of an upstream costs that call or that line only, in time and in bounded memory",
    source: "PROMISES Upstream faults",
  },
  "SUPERVISE-HALF-OPEN": {
    promise: "An auto-disabled server comes back by a probe of its own, unless auto_recover is off",
    source: "SPEC §3",
  },
  "SUPERVISE-HEALTH": {
    promise: "Three missed probes mean lost, one answer means well, and no probe touches a call",
    source: "SPEC §3",
  },
  "SUPERVISE-LAZY": {
    promise:
      "Lazy servers with known tools start nothing, the others are visited one at a time, and idle ones sleep",
    source: "SPEC §3",
  },
  "SUPERVISE-LAZY-SINGLE-FLIGHT": {
    promise: "A call wakes exactly one sleeping server, and ten calls at once start it once",
    source: "SPEC §3",
  },
  "SUPERVISE-ONE-OWNER": {
    promise: "A server has one link at most, and a link that was given up moves it no more",
    source: "SPEC §3",
  },
  "SUPERVISE-OPERATOR": {
    promise: "disconnect holds until connect, restart, a mode change or a proxy restart",
    source: "SPEC §3",
  },
  "SUPERVISE-PROXY-STATE": {
    promise: "The proxy is starting until each wanted server had its first attempt, then running",
    source: "SPEC §3",
  },
  "SUPERVISE-RATE-LIMITED": {
    promise: "Retry-After is honoured, by calls too, and never counts as a failure",
    source: "SPEC §3",
  },
  "SUPERVISE-RESTART-BUDGET": {
    promise: "A server is started at most five times in 60 s",
    source: "SPEC §3",
  },
  "SUPERVISE-TOOLS-REREAD": {
    promise:
      "Tools are read again on list_changed and on the discovery interval while the server stays ready",
    source: "SPEC §3",
  },
  "SWEEP-AT-START": {
    promise:
      "A start ends what a killed run left within 2 s, and leaves a process alone that is not surely ours",
    source: "PROMISES T20",
  },
  "TOKEN-EXPIRES": {
    promise: "A token that expired, was revoked or was replaced opens nothing, across restarts too",
    source: "PROMISES T03",
  },
  "TOKEN-HASHED": {
    promise: "The secret of a token is told once and stored as a hash, which is in no answer, log or record",
    source: "PROMISES T17",
  },
  "TOKEN-SCOPE": {
    promise:
      "A token reaches the servers it names and the routes on an exact list, and cannot tell what else there is",
    source: "PROMISES T03",
  },
  "TRANSITION-CELLS": {
    promise: "Every cell of startup mode × connection state × event has its one answer",
    source: "SPEC §3",
  },
  "TRIAL-LEAVES-NOTHING": {
    promise: "A trial connection leaves no process, no memory and no event",
    source: "SPEC §2",
  },
  "UPSTREAM-ERA-REMEMBERED": {
    promise: "The era of an upstream is negotiated once and remembered over a restart",
    source: "SPEC §6",
  },
  "UPSTREAM-ISOLATION": {
    promise: "An upstream that fails, hangs or floods makes no call to another one fail",
    source: "PROMISES P2",
  },
  "UPSTREAM-MODES": {
    promise: "Active servers are connected, lazy ones on the first call, and the three off modes never",
    source: "SPEC §3",
  },
  "UPSTREAM-PAGES": {
    promise: "tools/list is read to its last page, and a cursor loop ends",
    source: "SPEC §3",
  },
  "UPSTREAM-TRANSPORTS": {
    promise: "Upstreams are reached over stdio, streamable HTTP and SSE, and auto finds out which",
    source: "SPEC §1",
  },
  "VERBS-IDEMPOTENT": {
    promise: "A verb that asks for what is already so answers 200, and writes nothing",
    source: "SPEC §7",
  },
} as const satisfies Record<string, Requirement>;

/** A key of {@link REQUIREMENTS}. */
export type RequirementId = keyof typeof REQUIREMENTS;

/** Says that the test around this call holds the promises `ids`; checked by type and by the gate. */
export function verifies(...ids: readonly RequirementId[]): void {
  for (const id of ids) {
    if (!Object.hasOwn(REQUIREMENTS, id)) throw new RangeError(`Cannot verify '${id}': no such requirement`);
  }
}
