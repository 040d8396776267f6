/**
 * Registries of servers: which there are, and what is in them.
 *
 * Owns asking them: only when somebody wants to know, one page for many askers, kept for some minutes. Invariants: an
 * answer is text from strangers and is read as such; no answer, however large, slow or wrong, costs more than its
 * deadline and its cap; what is found is added by nobody but who asks for it. Loading all at the start was rejected:
 * nothing is to be sent out before a person looks.
 */
import { ProxyError } from "../core/errors.ts";
import type { RegistryDefinition, Settings } from "../core/settings.ts";
import { nearestWord } from "../lib/nearest.ts";
import type { PublicFetchOptions } from "../lib/public_fetch.ts";
import { BUILTIN_PROTOCOL } from "../state/registries.ts";
import type { RegistryPage, RegistryServer } from "./registry_entry.ts";

/** Options of {@link Registries}. */
export interface RegistriesOptions {
  readonly settings: () => Pick<Settings, "registries">;
  /** Asks an address. @default over the network */
  readonly fetch?: (address: string, options: PublicFetchOptions) => Promise<string>;
  /** Milliseconds on a clock that never jumps. @default the machine's */
  readonly now?: () => number;
}

/** What to look for in a registry. */
export interface RegistryQuery {
  /** Words that all stand in name, id or description. */
  readonly query?: string | undefined;
  readonly tag?: string | undefined;
  /** @default 50 */
  readonly limit?: number | undefined;
}

/** What was found. */
export interface RegistryHits {
  readonly registry: RegistryDefinition;
  /** The best of them first, as many as asked for. */
  readonly servers: readonly RegistryServer[];
  /** How many there were among those that were looked at. */
  readonly total: number;
}

const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
/** The official registry takes seconds for a page. */
const TIMEOUT_MS = 20_000;
const KEPT_MS = 5 * 60_000;
const KEPT_PAGES = 64;
/** A list is followed so far, however long it is. */
const MAX_PAGES = 5;
const PAGE_SIZE = 100;
const DEFAULT_LIMIT = 50;
const PAGED = /^(?:modelcontextprotocol\/registry|mcp\/v0(?:\.1)?)$/;

/** Knows the registries and asks them. */
export class Registries {
  readonly #options: RegistriesOptions;
  /** By address; the oldest first. */
  readonly #pages = new Map<string, { readonly page: Promise<RegistryPage>; readonly at: number }>();

  constructor(options: RegistriesOptions) {
    this.#options = options;
  }

  /** All there are. */
  list(): readonly RegistryDefinition[] {
    return this.#options.settings().registries;
  }

  /** One by its id or name, whatever the case. @throws {ProxyError} `REGISTRY_UNKNOWN` */
  get(id: string): RegistryDefinition {
    const all = this.list();
    const wanted = id.toLowerCase();
    const found =
      all.find((one) => one.id.toLowerCase() === wanted) ??
      all.find(({ name }) => name.toLowerCase() === wanted);
    if (found !== undefined) return found;
    const meant = nearestWord(
      id,
      all.map((one) => one.id),
    );
    throw new ProxyError("REGISTRY_UNKNOWN", `Cannot find a registry '${id.slice(0, 100)}'`, {
      hint:
        meant === undefined
          ? `Known are: ${all.map((one) => one.id).join(", ")}`
          : `Did you mean '${meant}'?`,
    });
  }

  /**
   * Looks for servers in one registry.
   *
   * @throws {ProxyError} `REGISTRY_UNKNOWN`, or `REGISTRY_FAILED` when it gives no list.
   */
  async search(
    id: string,
    { query = "", tag, limit = DEFAULT_LIMIT }: RegistryQuery = {},
  ): Promise<RegistryHits> {
    const registry = this.get(id);
    const words = query
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== "");
    const fits = (server: RegistryServer): boolean =>
      isHit(server, words) && (tag === undefined || server.tags?.includes(tag) === true);
    const hits: RegistryServer[] = [];
    const seen = new Set<string>();
    for await (const page of this.#pagesOf(registry, words)) {
      for (const server of page) {
        if (!seen.has(server.id) && fits(server)) hits.push(server);
        seen.add(server.id);
      }
      // Nobody would see what the next page adds, and some take seconds for one.
      if (hits.length >= limit) break;
    }
    const ranked = hits.toSorted((a, b) => rankOf(a, words) - rankOf(b, words));
    return { registry, servers: ranked.slice(0, limit), total: hits.length };
  }

  /**
   * One server of a registry by its id or name.
   *
   * @throws {ProxyError} as {@link search} does, and `REGISTRY_UNKNOWN` when it is not in there.
   */
  async find(id: string, server: string): Promise<RegistryServer> {
    const registry = this.get(id);
    const wanted = server.toLowerCase();
    const found: RegistryServer[] = [];
    const ids = new Set<string>();
    for await (const page of this.#pagesOf(registry, [wanted])) {
      const exact = page.find((one) => one.id.toLowerCase() === wanted);
      if (exact !== undefined) return exact;
      found.push(...page.filter((one) => one.name.toLowerCase() === wanted));
      for (const one of page) ids.add(one.id);
    }
    const [only] = found;
    if (only !== undefined) return only;
    const meant = nearestWord(wanted, ids);
    throw new ProxyError(
      "REGISTRY_UNKNOWN",
      `Cannot find a server '${server.slice(0, 100)}' in registry '${registry.id}'`,
      {
        hint:
          meant === undefined ? "Search it first; the id stands in the answer" : `Did you mean '${meant}'?`,
      },
    );
  }

  async *#pagesOf(
    registry: RegistryDefinition,
    words: readonly string[],
  ): AsyncGenerator<readonly RegistryServer[]> {
    if (registry.protocol === BUILTIN_PROTOCOL) {
      const { referenceServers } = await import("./reference_servers.ts");
      yield referenceServers(registry.id);
      return;
    }
    const { now = () => performance.now() } = this.#options;
    const endsAt = now() + TIMEOUT_MS;
    let address: string | undefined = firstAddress(registry, words);
    for (let page = 0; page < MAX_PAGES && address !== undefined; page += 1) {
      // The next address stands in the page before.
      const { servers, next } = await this.#page(registry, address);
      yield servers;
      address = next === undefined || now() > endsAt ? undefined : nextAddress(registry, { address, next });
    }
  }

  #page(registry: RegistryDefinition, address: string): Promise<RegistryPage> {
    const { now = () => performance.now() } = this.#options;
    const key = `${registry.id} ${registry.protocol} ${registry.isPrivateAllowed} ${address}`;
    const known = this.#pages.get(key);
    if (known !== undefined && now() - known.at < KEPT_MS) return known.page;
    const page = this.#ask(registry, address);
    this.#pages.delete(key);
    this.#pages.set(key, { page, at: now() });
    page.catch(() => {
      // Who asks again asks anew.
      if (this.#pages.get(key)?.page === page) this.#pages.delete(key);
    });
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= KEPT_PAGES) break;
      this.#pages.delete(oldest);
    }
    return page;
  }

  async #ask(registry: RegistryDefinition, address: string): Promise<RegistryPage> {
    const { fetchPublic, PublicFetchError } = await import("../lib/public_fetch.ts");
    const { fetch = fetchPublic } = this.#options;
    let text: string;
    try {
      text = await fetch(address, {
        maxBytes: MAX_ANSWER_BYTES,
        timeoutMs: TIMEOUT_MS,
        isPrivateAllowed: registry.isPrivateAllowed,
      });
    } catch (error) {
      if (!(error instanceof PublicFetchError)) throw error;
      const isPrivate = error.message.includes("private network");
      throw failed(registry, error.message, {
        cause: error,
        hint: isPrivate
          ? "Set 'allow_private' of this registry to true if it is meant to be there"
          : "Try again later, or look at 'servers_url' of this registry in the configuration",
      });
    }
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch (error) {
      throw failed(registry, "the answer is not JSON", { cause: error, hint: "Look at its 'servers_url'" });
    }
    const { readRegistryPage } = await import("./registry_entry.ts");
    return readRegistryPage(answer, registry);
  }
}

function failed(
  registry: RegistryDefinition,
  what: string,
  more: { readonly cause: unknown; readonly hint: string },
): ProxyError {
  return new ProxyError("REGISTRY_FAILED", `Cannot read registry '${registry.id}': ${what}`, more);
}

/** The first page; those that can search do so. */
function firstAddress({ serversUrl, protocol }: RegistryDefinition, words: readonly string[]): string {
  const url = URL.parse(serversUrl);
  if (url === null) return serversUrl;
  const add = (name: string, value: string): void => {
    if (!url.searchParams.has(name)) url.searchParams.set(name, value);
  };
  // Their search is for one piece of text; the rest is looked at here.
  const longest = words.toSorted((a, b) => b.length - a.length)[0];
  if (PAGED.test(protocol)) {
    add("version", "latest");
    add("limit", String(PAGE_SIZE));
    if (longest !== undefined) add("search", longest);
  } else if (protocol === "custom/docker") add("page_size", String(PAGE_SIZE));
  else if (protocol === "custom/pulse") {
    add("count_per_page", String(PAGE_SIZE));
    if (longest !== undefined) add("query", longest);
  }
  return url.href;
}

/** A cursor goes into the same address; an address has to lead to the same place. */
function nextAddress(
  { protocol }: RegistryDefinition,
  { address, next }: { readonly address: string; readonly next: string },
): string | undefined {
  const url = new URL(address);
  if (PAGED.test(protocol)) {
    if (url.searchParams.get("cursor") === next) return undefined;
    url.searchParams.set("cursor", next);
    return url.href;
  }
  const to = URL.parse(next, address);
  return to !== null && to.origin === url.origin && to.href !== address ? to.href : undefined;
}

function isHit({ id, name, description }: RegistryServer, words: readonly string[]): boolean {
  if (words.length === 0) return true;
  const text = `${id}\n${name}\n${description}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/** The name itself, its end, a part of it, the description. */
function rankOf({ name }: RegistryServer, words: readonly string[]): number {
  const text = name.toLowerCase();
  const whole = words.join(" ");
  if (whole === "") return 0;
  if (text === whole || text.endsWith(`/${whole}`)) return 0;
  return words.every((word) => text.includes(word)) ? 1 : 2;
}
