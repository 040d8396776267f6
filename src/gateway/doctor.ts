/**
 * What is wrong, odd or waiting for a person, and what would mend it.
 *
 * Owns the findings over configuration, servers, secrets, tools and store, their order, and the lists the Go proxy gives
 * beside them. Invariants: looking connects nothing, starts nothing and changes nothing; no finding shows a secret; each
 * has a hint. A check in the background was rejected: findings that nobody asked for are noise in a log.
 */
import type { Catalog } from "../catalog/catalog.ts";
import type { Finding, Server } from "../core/model.ts";
import type { Environment } from "../state/secrets.ts";
import { resolveSecrets, secretReferences } from "../state/secrets.ts";
import type { Store } from "../state/store.ts";
import { isCallable } from "../upstream/transition.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import type { Configuration } from "./configuration.ts";
import { lookAround, missingPrograms, namesOf } from "./surroundings.ts";

/** What a {@link Doctor} looks at. */
export interface DoctorDeps {
  readonly upstreams: Pick<Upstreams, "list" | "state">;
  readonly catalog: Pick<Catalog, "count" | "size">;
  readonly index: { readonly size: number };
  readonly configuration: Pick<
    Configuration,
    "config" | "settings" | "isDegraded" | "trouble" | "restartRequired"
  >;
  readonly store: Pick<Store, "findServer" | "activity">;
  /** Where `${env:…}` is looked up. */
  readonly env: Environment;
  /** Whether a reference such as `keyring:NAME` has a value. @default looks in `env` */
  readonly hasSecret?: (reference: string) => boolean | Promise<boolean>;
  /** Tools that get in each other's way where they are called directly. @default none */
  readonly collisions?: () => readonly Finding[];
  /** Unix milliseconds. @default Date.now */
  readonly now?: () => number;
}

/** A finding, and the request that would do what it proposes. */
export interface DoctorFinding extends Finding {
  readonly hint: string;
  readonly proposal?: {
    readonly method: "POST";
    readonly path: string;
    readonly body: Readonly<Record<string, unknown>>;
  };
}

/** All that was found (keys as on the wire); the lists beside `findings` are the Go proxy's. */
export interface Diagnosis {
  /** Findings that are warnings or errors. */
  readonly total_issues: number;
  /** The worst first. */
  readonly findings: readonly DoctorFinding[];
  readonly upstream_errors: readonly UpstreamError[];
  readonly oauth_required: readonly LoginNeeded[];
  readonly missing_secrets: readonly MissingSecret[];
  readonly runtime_warnings: readonly string[];
  /** ISO 8601. */
  readonly timestamp: string;
}

/** A server that cannot be connected. */
export interface UpstreamError {
  readonly server_name: string;
  readonly error_message: string;
  readonly error_class: string;
  readonly stderr: readonly string[];
  readonly timestamp: string;
}

/** A server that waits for a login. */
export interface LoginNeeded {
  readonly server_name: string;
  readonly state: "login_required";
  readonly message: string;
}

/** A reference without a value, and who needs it. */
export interface MissingSecret {
  /** As in `env:GITHUB_TOKEN`. */
  readonly secret_name: string;
  readonly used_by: readonly string[];
}

const DAY_MS = 86_400_000;
/** A server that was not connected for so long is proposed to be disabled. */
const UNUSED_DAYS = 30;
const LEVELS = ["error", "warning", "info"] as const;

/** Looks for what is wrong. */
export class Doctor {
  readonly #deps: DoctorDeps;
  readonly #now: () => number;

  constructor(deps: DoctorDeps) {
    this.#deps = deps;
    this.#now = deps.now ?? Date.now;
  }

  /** Looks at everything, once. */
  async examine(): Promise<Diagnosis> {
    const { upstreams, configuration, env, collisions } = this.#deps;
    const now = this.#now();
    const all = upstreams.list();
    const secrets = await this.#missingSecrets(all);
    const look = {
      configPath: configuration.config.path,
      settings: configuration.settings,
      servers: all.filter(isOn).map(({ server }) => server),
      env,
      now,
      lastNotedAt: this.#lastNotedAt(all),
    };
    const around = lookAround(look);
    const told = new Set(
      [...missingPrograms(look).values(), ...secrets.map((secret) => secret.used_by)].flat(),
    );
    const findings = [
      ...this.#configFindings(),
      ...all.flatMap((upstream) => serverFindings(upstream, told)),
      ...secrets.map((secret) => secretFinding(secret, all)),
      ...this.#unusedFindings(all, now),
      ...this.#toolFindings(all),
      ...(collisions?.() ?? []),
      ...this.#storeFindings(),
      ...around,
    ].map((finding): DoctorFinding => ({ ...finding, hint: finding.hint ?? "" }));
    return {
      total_issues: findings.filter(({ level }) => level !== "info").length,
      findings: LEVELS.flatMap((level) => findings.filter((finding) => finding.level === level)),
      upstream_errors: all.flatMap(upstreamError),
      oauth_required: all.flatMap(loginNeeded),
      missing_secrets: secrets,
      runtime_warnings: around.filter(({ level }) => level !== "info").map(({ message }) => message),
      timestamp: new Date(now).toISOString(),
    };
  }

  #configFindings(): Finding[] {
    const { config, trouble, isDegraded, restartRequired } = this.#deps.configuration;
    const findings: Finding[] = config.faults.map(({ file, line, column, key, message, advice, server }) => ({
      level: "error",
      code: "CONFIG_FAULT",
      message: `${file}:${line}:${column} ${key}: ${message}`,
      hint: advice,
      ...(server === undefined ? {} : { server }),
    }));
    if (trouble !== undefined) {
      const message = `The file as it stands is not in force, the last good one is: ${trouble}`;
      const hint = "Run 'mcpproxy config check' and mend what it names";
      findings.push({ level: "error", code: "CONFIG_INVALID", message, hint });
    }
    if (isDegraded) {
      const message = "A change stands in the file, but not in the database yet; it is tried again";
      const hint = "Check free space and permissions of the data dir";
      findings.push({ level: "error", code: "COMMIT_UNFINISHED", message, hint });
    }
    if (restartRequired.length > 0) {
      const message = `The file has other settings than the proxy was started with: ${restartRequired.join(", ")}`;
      const hint = "Restart the proxy, or take them back";
      findings.push({ level: "warning", code: "RESTART_NEEDED", message, hint });
    }
    return [...findings, ...config.findings];
  }

  async #missingSecrets(all: readonly Upstream[]): Promise<readonly MissingSecret[]> {
    const users = new Map<string, string[]>();
    for (const { server } of all) {
      for (const reference of referencesOf(server)) {
        const names = users.get(reference);
        if (names === undefined) users.set(reference, [server.name]);
        else names.push(server.name);
      }
    }
    const missing: MissingSecret[] = [];
    for (const [reference, names] of users) {
      const hasValue = this.#deps.hasSecret?.(reference) ?? this.#hasValue(reference);
      if (!(await hasValue)) missing.push({ secret_name: reference, used_by: names });
    }
    return missing;
  }

  #hasValue(reference: string): boolean {
    try {
      return resolveSecrets(`\${${reference}}`, this.#deps.env) !== "";
    } catch {
      return false;
    }
  }

  /** Only where the history says so: of a server that was never seen before today nothing is said. */
  #unusedFindings(all: readonly Upstream[], now: number): DoctorFinding[] {
    const before = now - UNUSED_DAYS * DAY_MS;
    const names = all
      .filter((upstream) => isOn(upstream) && upstream.connection !== "ready")
      .flatMap(({ server }) => {
        const memory = this.#deps.store.findServer(server.name);
        if (memory === undefined) return [];
        const { everConnected, connectedAt, firstSeenAt } = memory;
        const at = connectedAt ?? (everConnected ? undefined : firstSeenAt);
        return at !== undefined && at < before ? [server.name] : [];
      });
    if (names.length === 0) return [];
    const many = names.length === 1 ? "1 server was" : `${names.length} servers were`;
    return [
      {
        level: "info",
        code: "SERVERS_UNUSED",
        message: `${many} not connected for ${UNUSED_DAYS} days: ${namesOf(names)}`,
        hint: "Disable them: send 'proposal' of this finding, or run mcpproxy servers disable with their names",
        proposal: { method: "POST", path: "/api/v1/servers/batch", body: { action: "disable", names } },
      },
    ];
  }

  #toolFindings(all: readonly Upstream[]): Finding[] {
    const { catalog, index } = this.#deps;
    const findings = all
      .filter(({ connection, server }) => connection === "ready" && catalog.count(server.name) === 0)
      .map(({ server }): Finding => ({
        level: "warning",
        code: "SERVER_WITHOUT_TOOLS",
        message: `'${server.name}' is connected, but has no tools`,
        hint: "Its key may lack rights, or it needs an option: look at its log",
        server: server.name,
      }));
    if (catalog.size > 0 && index.size === 0) {
      const message = `${catalog.size} tools are known, but the search index is empty`;
      findings.push({ level: "error", code: "INDEX_EMPTY", message, hint: "Restart the proxy" });
    } else if (index.size < catalog.size) {
      const message = `${catalog.size - index.size} known tools are not in the search index yet`;
      findings.push({ level: "info", code: "INDEX_BEHIND", message, hint: "Ask again in a moment" });
    }
    return findings;
  }

  #storeFindings(): Finding[] {
    const { store, upstreams } = this.#deps;
    const { dropped } = store.activity.counts;
    const findings: Finding[] = [];
    if (dropped > 0) {
      const message = `${dropped} entries of the activity could not be written`;
      const hint = "Check free space and permissions of the data dir";
      findings.push({ level: "warning", code: "ACTIVITY_LOST", message, hint });
    }
    if (upstreams.state === "degraded") {
      const message = "Many servers failed together: failures do not count until one of them is back";
      const hint = "Check the network of this machine";
      findings.push({ level: "warning", code: "AUTO_DISABLE_SUSPENDED", message, hint });
    }
    return findings;
  }

  #lastNotedAt(all: readonly Upstream[]): number | undefined {
    const { store } = this.#deps;
    const times = all.flatMap(({ server }) => store.findServer(server.name)?.connectedAt ?? []);
    return times.length === 0 ? undefined : times.reduce((latest, at) => Math.max(latest, at));
  }
}

function isOn({ mode, server }: Upstream): boolean {
  return isCallable(mode) && server.faults.length === 0;
}

/** What a server's entry needs to be started or reached. */
function referencesOf({ url = "", args, env, headers }: Server): ReadonlySet<string> {
  return new Set([url, ...args, ...env.values(), ...headers.values()].flatMap(secretReferences));
}

function secretFinding(
  { secret_name: reference, used_by: names }: MissingSecret,
  all: readonly Upstream[],
): Finding {
  const needed = new Set(names);
  const isNeeded = all.some((upstream) => needed.has(upstream.server.name) && isOn(upstream));
  const [kind, ...rest] = reference.split(":");
  const name = rest.join(":");
  return {
    level: isNeeded ? "error" : "info",
    code: "SECRET_MISSING",
    message: `'\${${reference}}' has no value: ${namesOf(names)} ${names.length === 1 ? "needs" : "need"} it`,
    hint:
      kind === "keyring"
        ? `Store '${name}' in the keyring of this user`
        : `Set the environment variable ${name} before the proxy starts`,
    ...(names.length === 1 && names[0] !== undefined ? { server: names[0] } : {}),
  };
}

/** What is to be said of how one server stands; faults, and a secret or program it lacks, are told elsewhere. */
function serverFindings({ server, mode, status }: Upstream, told: ReadonlySet<string>): Finding[] {
  const { name } = server;
  const { failure, autoDisabled } = status;
  if (mode === "quarantined") {
    const message = `'${name}' is quarantined and waits for approval`;
    const hint = `Look at its entry, then run mcpproxy servers approve '${name}'`;
    return [{ level: "warning", code: "SERVER_QUARANTINED", message, hint, server: name }];
  }
  if (mode === "auto_disabled") {
    const message = `'${name}' was auto-disabled: ${autoDisabled?.reason ?? "it failed too often"}`;
    const mend = failure === undefined ? "" : `${failure.hint}; then `;
    const hint = `${mend}${mend === "" ? "Run" : "run"} mcpproxy servers enable '${name}'`;
    return [{ level: "warning", code: "SERVER_AUTO_DISABLED", message, hint, server: name }];
  }
  if (mode === "disabled" || failure === undefined || server.faults.length > 0) return [];
  if (failure.class === "config" && told.has(name)) return [];
  if (failure.class === "auth") {
    const { message, hint } = failure;
    return [{ level: "error", code: "LOGIN_NEEDED", message, hint, server: name }];
  }
  const last = failure.stderr.at(-1)?.trim() ?? "";
  const said = last === "" || failure.message.includes(last) ? "" : `; its last line on stderr: ${last}`;
  const code = `SERVER_${failure.class.toUpperCase()}`;
  return [{ level: "error", code, message: failure.message + said, hint: failure.hint, server: name }];
}

function upstreamError({ server, mode, status }: Upstream): UpstreamError[] {
  const { failure, since } = status;
  if (mode === "disabled" || mode === "quarantined") return [];
  const [fault] = server.faults;
  const common = { server_name: server.name };
  if (fault !== undefined) {
    const timestamp = new Date(since).toISOString();
    return [{ ...common, error_message: fault.message, error_class: "config", stderr: [], timestamp }];
  }
  if (failure === undefined || failure.class === "auth") return [];
  const timestamp = new Date(failure.at).toISOString();
  const { message: error_message, class: error_class, stderr } = failure;
  return [{ ...common, error_message, error_class, stderr, timestamp }];
}

function loginNeeded({ server, mode, status }: Upstream): LoginNeeded[] {
  const { failure } = status;
  if (failure?.class !== "auth" || mode === "disabled" || mode === "quarantined") return [];
  return [
    { server_name: server.name, state: "login_required", message: `${failure.message}: ${failure.hint}` },
  ];
}
