/**
 * The configuration in force, and the one path on which it changes.
 *
 * Owns the order plan, trial, commit, apply, event, for changes asked for and for edits of the file. Invariants: one
 * change at a time; what runs is what the last good file says; a plan whose base is gone is a conflict, never a guess;
 * an edit by hand is taken before any plan is made, so neither loses the other. Letting each surface commit by itself
 * was rejected: there would be several orders, and one of them wrong.
 */
import { Groups } from "../catalog/groups.ts";
import { messageOf, ProxyError } from "../core/errors.ts";
import type { EventBus } from "../core/events.ts";
import type { Server } from "../core/model.ts";
import type { Config, Settings } from "../core/settings.ts";
import type { Log } from "../lib/log.ts";
import { Semaphore } from "../lib/semaphore.ts";
import { faultsOf } from "../state/config.ts";
import type { CommitEffects, ConfigCommit } from "../state/config_commit.ts";
import { differenceOf } from "../state/config_difference.ts";
import type { Difference } from "../state/config_difference.ts";
import { preparePlan } from "../state/config_plan.ts";
import type { Plan, PlanOperation } from "../state/config_plan.ts";
import { restoreConfig } from "../state/config_restore.ts";
import { readSettled, takeSettled, watchConfig } from "../state/config_watch.ts";
import type { ConfigWatch } from "../state/config_watch.ts";
import { definitionHash } from "../state/definition.ts";
import type { LoadedConfig } from "../state/loaded_config.ts";
import type { Store } from "../state/store.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { effectsByHand } from "./approval.ts";
import { AutoDisableWriter } from "./auto_disable_writer.ts";
import { changeOf, countsOf, summaryOf } from "./change_summary.ts";
import { sinceStart, waitingSettings } from "./next_start.ts";
import { assertMayChange } from "./permission.ts";
import { planRollback } from "./rollback.ts";
import { tryOut } from "./trials.ts";

/** A plan made against a file that keeps changing is made anew so often, when nobody named its base. */
const MAX_TRIES = 5;
/** After a change, before the next one is made ready for. */
const IDLE_MS = 50;

/** Options of {@link Configuration}. */
export interface ConfigurationOptions {
  readonly loaded: LoadedConfig;
  readonly commit: ConfigCommit;
  readonly store: Store;
  readonly upstreams: Upstreams;
  readonly bus: EventBus;
  readonly log: Log;
  /** Reads a text as the file was read at the start. */
  readonly parse: (text: string) => Promise<LoadedConfig>;
}

/** A change somebody asks for. */
export interface ChangeRequest {
  readonly operations: readonly PlanOperation[];
  /** The revision it was made for; when another is in force, it is a conflict. */
  readonly revision?: number | undefined;
  /** Say what would change, and change nothing. @default false */
  readonly isDryRun?: boolean | undefined;
  /** Connect new and changed definitions on trial before anything is written. @default false */
  readonly verify?: boolean | undefined;
  /** List what is refused and do the rest. @default false: the first refusal is the answer */
  readonly isLenient?: boolean | undefined;
  /** Whether a person with the admin key asks: only then is `approve` heard. */
  readonly isByPerson: boolean;
}

/** What became of it. */
export interface Change {
  /** The revision in force now. */
  readonly revision: number;
  readonly plan: Plan;
  readonly warning?: string;
}

/** Holds the configuration and changes it. */
export class Configuration implements AsyncDisposable {
  readonly #options: ConfigurationOptions;
  readonly #writer = new Semaphore(1);
  readonly #autoDisables: AutoDisableWriter;
  readonly #closing = new AbortController();
  #watch: ConfigWatch | undefined;
  #warming: Timer | undefined;
  #loaded: LoadedConfig;
  #groups: Groups | undefined;
  /** What was last told of a file that cannot be used, and the text in it; until it can be used. */
  #told: { readonly message: string; readonly text: string | undefined } | undefined;
  /** The text that was tried last. */
  #tried: string | undefined;

  constructor(options: ConfigurationOptions) {
    this.#options = options;
    this.#loaded = options.loaded;
    this.#autoDisables = new AutoDisableWriter({
      ...options,
      isOn: () => this.settings.persistAutoDisableToConfig,
      write: (operationsNow) => this.#onLatest({ mayRetry: true }, () => this.#writeOwn(operationsNow())),
    });
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** The configuration in force. */
  get config(): Config {
    return this.#loaded.config;
  }

  /** Its settings; to be read at use, since they change. */
  get settings(): Settings {
    return this.#loaded.config.settings;
  }

  /** With its text and the places in it. */
  get loaded(): LoadedConfig {
    return this.#loaded;
  }

  /** Its text, as it stands in the file. */
  get text(): string {
    return this.#loaded.text;
  }

  /** Its number. */
  get revision(): number {
    return this.#options.commit.revision;
  }

  /** Whether a commit could not be finished yet. */
  get isDegraded(): boolean {
    return this.#options.commit.isDegraded;
  }

  /** Why the file as it stands now cannot be used; undefined while it is the one in force. */
  get trouble(): string | undefined {
    return this.#told?.message;
  }

  /** Settings of the file that hold from the next start, as they differ from those of this one. */
  get restartRequired(): readonly string[] {
    return waitingSettings(this.#options.loaded.config, this.config);
  }

  /** The groups and who is in them. */
  get groups(): Groups {
    this.#groups ??= new Groups(this.settings.groups, this.config.servers);
    return this.#groups;
  }

  /**
   * Plans a change, tries it when asked to, makes it durable, and applies it.
   *
   * @param tell publishes what is told beside the changes of the servers, before `config_committed`.
   * @throws {ProxyError} `CONFIG_CONFLICT` with both revisions, `CONFIG_INVALID`, `CONFIG_UNWRITABLE`, `VERIFY_FAILED`,
   * and what a plan refuses; nothing was changed then.
   */
  async change(request: ChangeRequest, tell: (plan: Plan) => void = () => {}): Promise<Change> {
    const tried = new Set<string>();
    for (;;) {
      const done = await this.#onLatest(
        { mayRetry: request.revision === undefined },
        (isLatest): Change | readonly Server[] | undefined => {
          assertMayChange(request.operations, this.settings);
          this.#checkRevision(request.revision);
          const plan = this.#prepare(request);
          const untried = request.verify === true ? this.#toTry(plan, tried) : [];
          if (!isLatest && (untried.length > 0 || request.isDryRun === true || !plan.isChange))
            return undefined;
          if (untried.length > 0) return untried;
          if (request.isDryRun === true) return { revision: this.revision, plan };
          return this.#commit(plan, { summary: summaryOf(request.operations), tell });
        },
      );
      if ("plan" in done) return done;
      // Others change things meanwhile: what is committed is planned anew.
      await tryOut(done, { upstreams: this.#options.upstreams, signal: this.#closing.signal });
      for (const server of done) tried.add(definitionHash(server));
    }
  }

  /**
   * Puts an earlier text in force. A quarantine stays, and a definition nobody approved is quarantined, unless
   * `approve` is given. A file that cannot be used gives way, and is kept beside the backups.
   *
   * @throws {ProxyError} as {@link change} does.
   */
  async rollback(
    text: string,
    options: { readonly summary: string; readonly approve: boolean },
  ): Promise<Change> {
    const loaded = await this.#options.parse(text);
    return this.#onLatest({ mayRetry: true, isOverFaults: true }, (_, isFaulty) => {
      const { upstreams, store } = this.#options;
      const plan = planRollback(loaded, {
        from: this.config,
        approve: options.approve,
        known: (name) => {
          const mode = upstreams.find(name)?.mode;
          return mode && { mode, approvedHash: store.findServer(name)?.approvedHash };
        },
      });
      const beside = isFaulty ? { warning: this.#restore() } : {};
      const how = { summary: options.summary, isRollback: true, tell: () => {} };
      return { ...beside, ...this.#commit(this.#toTell(plan), how) };
    });
  }

  /** Takes what stands in the file now, when it is another text and good; tells of one that is not, once. */
  async reload(): Promise<void> {
    const release = await this.#writer.acquire();
    try {
      if (this.#isClosed) return;
      await this.#takeSettled();
    } catch (error) {
      if (!this.#isClosed) this.#tellInvalid(error);
    } finally {
      release();
    }
  }

  /** Begins to follow edits of the file, those since it was read included. */
  start(): void {
    const { log } = this.#options;
    const look = (): void => void this.reload();
    this.#watch = watchConfig({
      path: this.config.path,
      onChange: look,
      onError: (error) =>
        log.warn("Cannot watch the configuration: it is looked at now and then", { cause: messageOf(error) }),
    });
    this.#warm();
    look();
  }

  /** Stops listening; waits for the change under way. Idempotent. */
  async close(): Promise<void> {
    this.#watch?.close();
    await this.#autoDisables.close();
    this.#closing.abort();
    clearTimeout(this.#warming);
    (await this.#writer.acquire())();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Acts alone: first on what is known, because a commit finds out by itself whether the file is another; when that
   * came to nothing, on the file as it stands, and once more when somebody saved it meanwhile.
   *
   * @param act gives undefined when it needs the latest and is not told so; with `isOverFaults` it acts over a file that
   * cannot be used, too, and is told so.
   */
  async #onLatest<Done>(
    { mayRetry, isOverFaults = false }: { readonly mayRetry: boolean; readonly isOverFaults?: boolean },
    act: (isLatest: boolean, isFaulty: boolean) => Done | undefined,
  ): Promise<Done> {
    const release = await this.#writer.acquire();
    const excuse = (error: unknown): boolean => {
      if (isGone(error)) return false;
      if (isOverFaults && isOfFile(error)) return true;
      throw error;
    };
    const once = async (triesLeft: number): Promise<Done> => {
      const isFaulty = await this.#takeSettled().then(() => false, excuse);
      try {
        return act(true, isFaulty) as Done;
      } catch (error) {
        const isOvertaken = error instanceof ProxyError && error.code === "CONFIG_CONFLICT";
        if (!isOvertaken || !mayRetry || triesLeft <= 1) throw error;
        return once(triesLeft - 1);
      }
    };
    try {
      return this.#onKnown(act) ?? (await once(MAX_TRIES));
    } finally {
      release();
    }
  }

  #onKnown<Done>(act: (isLatest: boolean, isFaulty: boolean) => Done | undefined): Done | undefined {
    if (this.#told !== undefined) return undefined;
    try {
      return act(false, false);
    } catch (error) {
      if (error instanceof ProxyError && error.code !== "CONFIG_UNWRITABLE") return undefined;
      throw error;
    }
  }

  #prepare({ operations, isLenient = false, isByPerson }: ChangeRequest): Plan {
    const { upstreams, store } = this.#options;
    const plan = preparePlan(this.#loaded, {
      operations,
      isLenient,
      isByPerson,
      memoryOf: (name) => {
        const upstream = upstreams.find(name);
        if (upstream === undefined) return undefined;
        const { definitionHash: defined, approvedHash, formerMode } = store.findServer(name) ?? {};
        return { mode: upstream.mode, definitionHash: defined, approvedHash, formerMode };
      },
    });
    return this.#toTell(plan);
  }

  #toTell(plan: Plan): Plan {
    const { config: started } = this.#options.loaded;
    return { ...plan, difference: sinceStart(plan.difference, { started, now: plan.config }) };
  }

  /** Gives the file the text in force again. */
  #restore(): string {
    const { commit, log } = this.#options;
    const path = restoreConfig({ path: this.config.path, text: commit.text, history: commit.history });
    log.warn("The configuration that cannot be used gave way; it is kept", { path });
    return `What stood in the file is kept as '${path}'`;
  }

  #checkRevision(wanted: number | undefined): void {
    const { revision } = this;
    if (wanted === undefined || wanted === revision) return;
    throw new ProxyError(
      "CONFIG_CONFLICT",
      `Cannot change the configuration: the plan is for revision ${wanted}, in force is ${revision}`,
      {
        data: { expected: wanted, actual: revision },
        hint: "Look at what changed, plan again, and send the revision in force",
      },
    );
  }

  /** Writes what the proxy decided by itself, where that is not in the file yet. */
  #writeOwn(operations: readonly PlanOperation[]): true {
    if (operations.length > 0) {
      const plan = this.#prepare({ operations, isLenient: true, isByPerson: false });
      this.#commit(plan, { summary: summaryOf(operations), tell: () => {} });
    }
    return true;
  }

  /** What a plan starts and was not tried yet. @throws {ProxyError} `QUARANTINED` when nobody approved it */
  #toTry(plan: Plan, tried: ReadonlySet<string>): Server[] {
    const { store } = this.#options;
    const approved = new Map(plan.effects.approved);
    const servers = plan.trials.flatMap((name) => plan.config.servers.find((it) => it.name === name) ?? []);
    const held = servers.find((server) => {
      const hash = definitionHash(server);
      return approved.get(server.name) !== hash && store.findServer(server.name)?.approvedHash !== hash;
    });
    if (held !== undefined) {
      throw new ProxyError("QUARANTINED", `Cannot try '${held.name}': nobody approved what it would start`, {
        hint: "Send 'approve: true' with the change, or leave 'verify' out",
      });
    }
    return servers.filter((server) => !tried.has(definitionHash(server)));
  }

  #commit(
    plan: Plan,
    options: {
      readonly summary: string;
      readonly isRollback?: boolean;
      /** Publishes what is told beside the changes of the servers. */
      readonly tell: (plan: Plan) => void;
    },
  ): Change {
    const { summary, isRollback = false, tell } = options;
    const { commit, bus, log } = this.#options;
    const { loaded, effects, difference } = plan;
    if (!plan.isChange) {
      tell(plan);
      return { revision: this.revision, plan };
    }
    const { revision, warning } = commit.commit({ text: loaded.text, effects, summary, isRollback });
    const beside = warning === undefined ? {} : { warning };
    log.info("The configuration was changed", { revision, by: summary, ...beside });
    this.#install(loaded, { difference, effects, revision, reason: summary }, () => {
      tell(plan);
      bus.publish("config_committed", { ...changeOf(difference), ...beside });
    });
    return { revision, plan, ...beside };
  }

  /** Makes a good text run; unchanged servers do not notice. */
  #install(
    loaded: LoadedConfig,
    how: {
      readonly difference: Difference;
      readonly effects: CommitEffects;
      readonly revision: number;
      readonly reason: string;
    },
    publish: () => void,
  ): void {
    const { upstreams, bus } = this.#options;
    const { difference, effects, revision, reason } = how;
    this.#loaded = loaded;
    this.#told = undefined;
    this.#groups = undefined;
    this.#warm();
    bus.during(revision, () => {
      const { settings, servers } = loaded.config;
      if (difference.settings.length > 0) upstreams.applySettings(settings, reason);
      upstreams.reconcile({ ...difference, reviewed: reviewedBy(effects), servers }, reason);
      publish();
    });
  }

  /** Takes an edit; one that cannot be used has a moment to become whole, unless it was told of before. */
  async #takeSettled(): Promise<void> {
    if (this.#told !== undefined) await this.#takeEdit();
    else await takeSettled(() => this.#takeEdit(), { signal: this.#closing.signal });
  }

  /**
   * Takes the text in the file when it is not the one in force.
   *
   * @throws {ProxyError} `CONFIG_INVALID`, `CONFIG_UNREADABLE`; what is in force stays.
   */
  async #takeEdit(): Promise<void> {
    const { commit, bus, log } = this.#options;
    this.#tried = undefined;
    const { signal } = this.#closing;
    const text = await readSettled(this.config.path, () => commit.readChanged(), { signal });
    if (text === undefined) {
      this.#tellMended();
      return;
    }
    this.#tried = text;
    const loaded = await this.#options.parse(text);
    const { config: started } = this.#options.loaded;
    const difference = sinceStart(differenceOf(this.config, loaded.config), { started, now: loaded.config });
    const effects = effectsByHand(difference, loaded.config.servers);
    const revision = commit.adopt(text, effects);
    const change = changeOf(difference);
    this.#install(
      loaded,
      { difference, effects, revision, reason: "the configuration file was edited" },
      () => bus.publish("config_reloaded", change),
    );
    log.info("The edited configuration is in force", { revision, ...countsOf(change) });
    for (const { message, advice, line, column, server } of loaded.config.faults) {
      log.error(message, { server, at: `${loaded.config.path}:${line}:${column}`, advice });
    }
  }

  /** The next change finds its text read; a reply never waits for that. */
  #warm(): void {
    clearTimeout(this.#warming);
    this.#warming = setTimeout(() => this.#loaded.warm(), IDLE_MS);
  }

  /** The text in force stands in the file again: nothing changed, but what was told is no longer so. */
  #tellMended(): void {
    if (this.#told === undefined) return;
    this.#told = undefined;
    const { log, bus, commit } = this.#options;
    log.info("The configuration file can be used again");
    const nothing = changeOf(differenceOf(this.config, this.config));
    bus.during(commit.revision, () => void bus.publish("config_reloaded", nothing));
  }

  #tellInvalid(error: unknown): void {
    const told = { message: messageOf(error), text: this.#tried };
    const { message } = told;
    if (Bun.deepEquals(told, this.#told)) return;
    this.#told = told;
    const { log, bus } = this.#options;
    const faults = faultsOf(error);
    log.error("The edited configuration cannot be used: the last good one stays", { cause: message });
    for (const { file, line, column, key, message: what, advice } of faults) {
      log.error(what, { at: `${file}:${line}:${column}`, key, advice });
    }
    bus.publish("config_invalid", { message, faults });
  }
}

/** Servers whose approval, quarantine or auto-disable was changed in the database. */
function reviewedBy({ approved = [], quarantined = [], cleared = [] }: CommitEffects): string[] {
  return [...new Set([...approved.map(([name]) => name), ...quarantined.map(([name]) => name), ...cleared])];
}

/** A file that is gone is written anew by the next change; any other trouble with it has to be mended first. */
function isGone(error: unknown): boolean {
  const cause = error instanceof ProxyError && error.code === "CONFIG_UNREADABLE" ? error.cause : undefined;
  return (cause as { readonly code?: unknown } | undefined)?.code === "ENOENT";
}

function isOfFile(error: unknown): boolean {
  return error instanceof ProxyError && ["CONFIG_INVALID", "CONFIG_UNREADABLE"].includes(error.code);
}
