/**
 * `mcpproxy completion`: what a shell offers when somebody presses Tab.
 *
 * Owns the scripts of three shells, and what is offered for a line of words. Invariants: commands, verbs and flags come
 * from the table of commands alone; names come from the proxy, and when it does not answer at once there are none;
 * nothing is ever printed but offers. A script that holds all commands was rejected: it would be one version behind.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { findDaemon } from "./client.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";
import { COMMANDS, GLOBAL_FLAGS, NOUNS, VALUES } from "./commands.ts";
import { nouns, readFlag, readWords, unknownCommand, verbsOf } from "./help.ts";
import type { FlagRow } from "./help.ts";
import { takeVerb } from "./verb.ts";

/** A person waits for the answer with a finger on the key. */
const PATIENCE_MS = 500;
const MAX_OFFERS = 500;

const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `# bash completion of mcpproxy; to try it: source <(mcpproxy completion bash)
_mcpproxy() {
  local rest=\${COMP_LINE:0:COMP_POINT} blanks word cur offer head i
  local -a words=()
  # bash parts words at ':' and '=' as well: what has no blank before it belongs to the word before.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    blanks=\${rest%%[![:space:]]*} rest=\${rest#"\${rest%%[![:space:]]*}"} word=\${COMP_WORDS[i]}
    # What stands behind the cursor is not there yet.
    if ((i == COMP_CWORD)); then word=$rest; fi
    if ((i == 0)) || [[ -n $blanks ]]; then words+=("$word"); else words[\${#words[@]}-1]+=$word; fi
    rest=\${rest#"$word"}
  done
  cur=\${words[\${#words[@]}-1]}
  # Of a word bash replaces what stands behind its last ':' or '=', of one in quotes all.
  if [[ $cur == [\\'\\"]* ]]; then head=; else head=\${cur%"\${cur##*[:=]}"}; fi
  local IFS=$'\\n'
  COMPREPLY=()
  while IFS= read -r offer; do
    offer=\${offer%%$'\\t'*}
    if [[ $offer == :files ]]; then compopt -o filenames 2>/dev/null; COMPREPLY+=($(compgen -f -- "\${cur##*=}"))
    elif [[ $cur == [\\'\\"]* ]]; then COMPREPLY+=("$offer")
    else
      if [[ $offer == *[!a-zA-Z0-9_.,:=/@+-]* ]]; then offer=$(printf %q "$offer"); fi
      COMPREPLY+=("\${offer#"$head"}")
    fi
  done < <("\${words[0]/#~\\//$HOME/}" completion words --quoted -- "\${words[@]:1}" 2>/dev/null)
}
complete -F _mcpproxy mcpproxy
`,
  zsh: `#compdef mcpproxy
# zsh completion of mcpproxy; to try it: source <(mcpproxy completion zsh)
_mcpproxy() {
  local -a offers texts
  local line offer
  while IFS= read -r line; do
    offer=\${line%%$'\\t'*}
    if [[ $offer == :files ]]; then compset -P '--*='; _files; continue; fi
    offers+=("$offer")
    if [[ $line == *$'\\t'* ]]; then texts+=("$offer  -- \${line#*$'\\t'}"); else texts+=("$offer"); fi
  done < <("\${words[1]/#\\~\\//$HOME/}" completion words --quoted -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( $#offers )) && compadd -l -d texts -a offers
}
if [[ $funcstack[1] == _mcpproxy ]]; then _mcpproxy "$@"; else compdef _mcpproxy mcpproxy; fi
`,
  fish: `# fish completion of mcpproxy; to try it: mcpproxy completion fish | source
function __mcpproxy_offers
  set -l tokens (commandline -opc)
  set -l program (string replace -r '^~/' "$HOME/" -- $tokens[1])
  type -q $program; or return
  # A quote that is still open is no part of the word.
  set -l typed (commandline -ct)
  set -l current (string unescape -- $typed; or string replace -r '^["\\']' '' -- $typed)
  for offer in ($program completion words -- $tokens[2..] "$current" 2>/dev/null)
    if test "$offer" = :files
      set -l head (string match -r -- '^--[^=]+=' "$current")
      for path in (__fish_complete_path (string replace -r -- '^--[^=]+=' '' "$current"))
        echo "$head$path"
      end
    else
      echo $offer
    end
  end
end
complete -c mcpproxy -f -a '(__mcpproxy_offers)'
`,
};

/** Something to offer, and what it is for. */
interface Offer {
  readonly word: string;
  readonly text?: string | undefined;
}

/** Paths, which the shell knows better. */
const FILES: Offer = { word: ":files" };

/** Prints the script of a shell, or with `words --` what is offered behind a line of words. */
export async function runCompletion(args: readonly string[], io: CommandIo): Promise<number> {
  const { verb, rest } = takeVerb(args);
  if (verb === "words") {
    const at = args.indexOf("--");
    const words = at < 0 ? rest : args.slice(at + 1);
    const isQuoted = at >= 0 && args.slice(0, at).includes("--quoted");
    const offers = await offersFor(isQuoted ? words.map(unquote) : words, io);
    for (const { word, text } of offers) {
      // A line break would be two offers.
      if (oneLine(word) === word) io.stdout(`${word}${text === undefined ? "" : `\t${text}`}\n`);
    }
    return 0;
  }
  const script = verb === undefined || !Object.hasOwn(SCRIPTS, verb) ? undefined : SCRIPTS[verb];
  if (verb === undefined || script === undefined) {
    if (verb === undefined) {
      throw new ProxyError("USAGE", "Name the shell: bash, zsh or fish", {
        hint: "See 'mcpproxy completion --help'",
      });
    }
    throw unknownCommand(["completion", verb]);
  }
  readWords(`completion ${verb}`, rest);
  io.stdout(script);
  return 0;
}

/** What a word stands for that was typed into a shell; a quote may still be open. Nothing is expanded. */
function unquote(typed: string): string {
  const parts = typed.matchAll(/'([^']*)'?|"((?:[^"\\]|\\.)*)"?|\\(.)|[^'"\\]+/gsu);
  const plain = Array.from(parts, ([all, single, double, escaped]) => {
    return single ?? double?.replaceAll(/\\(["\\$`])/g, "$1") ?? escaped ?? all;
  });
  return plain.join("");
}

/** What may stand in the place of the last word. */
async function offersFor(words: readonly string[], io: CommandIo): Promise<readonly Offer[]> {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  // Behind `--` stands somebody else's command.
  if (before.includes("--")) return [FILES];
  const line = readLine(before);
  const offers = await candidates(line, { current, io });
  return offers.filter(({ word }) => word === FILES.word || word.startsWith(current)).slice(0, MAX_OFFERS);
}

/** A command line up to the word that is completed. */
interface Line {
  readonly noun: string | undefined;
  /** The full name of the command; undefined while its verb is missing. */
  readonly command: string | undefined;
  /** How many words stand behind the command. */
  readonly words: number;
  /** The flag whose value comes next. */
  readonly open: FlagRow | undefined;
  readonly flags: Pick<GlobalFlags, "config" | "dataDir" | "url">;
}

function readLine(before: readonly string[]): Line {
  const names: string[] = [];
  const given: Record<string, string> = {};
  let open: FlagRow | undefined;
  for (const word of before) {
    if (open !== undefined) {
      given[open.name] = word;
      open = undefined;
    } else if (word.startsWith("-")) {
      const flag = flagsOf(commandOf(names)).find(
        ({ name, short }) => word === `--${name}` || word === `-${short}`,
      );
      if (flag?.value !== undefined) open = flag;
      const joined = /^--([\w-]+)=(.*)$/.exec(word);
      if (joined !== null) given[joined[1] ?? ""] = joined[2] ?? "";
    } else names.push(word);
  }
  const command = commandOf(names);
  return {
    noun: names[0],
    command,
    words: command === undefined ? names.length : names.length - command.split(" ").length,
    open,
    flags: { config: given["config"], dataDir: given["data-dir"], url: given["url"] },
  };
}

function commandOf([noun, verb]: readonly string[]): string | undefined {
  if (noun === undefined) return undefined;
  const name = verbsOf(noun).length === 0 ? noun : `${noun} ${verb ?? ""}`;
  return Object.hasOwn(COMMANDS, name) ? name : undefined;
}

function flagsOf(command: string | undefined): readonly FlagRow[] {
  const own = command === undefined ? [] : (COMMANDS[command]?.flags ?? []);
  const rows = [...own, ...GLOBAL_FLAGS].map(readFlag);
  return rows.filter(({ name }, at) => rows.findIndex((row) => row.name === name) === at);
}

async function candidates(
  line: Line,
  { current, io }: { readonly current: string; readonly io: CommandIo },
): Promise<readonly Offer[]> {
  const { noun, command, open, words } = line;
  if (open?.value !== undefined) return valuesOf(open.value, { line, current, io });
  const joined = /^(--([\w-]+)=)(.*)$/s.exec(current);
  if (joined !== null) {
    const [, head = "", name = "", value = ""] = joined;
    const flag = flagsOf(command).find((row) => row.name === name);
    if (flag?.value === undefined) return [];
    const values = await valuesOf(flag.value, { line, current: value, io });
    return values.map((offer) => (offer === FILES ? FILES : { word: `${head}${offer.word}` }));
  }
  if (current.startsWith("-")) return flagsOf(command).map(({ name, text }) => ({ word: `--${name}`, text }));
  if (noun === undefined) return nouns().map((word) => ({ word, text: NOUNS[word]?.summary }));
  if (command === undefined) {
    return words > 1
      ? []
      : verbsOf(noun).map((word) => ({ word, text: COMMANDS[`${noun} ${word}`]?.summary }));
  }
  const places = (COMMANDS[command]?.words ?? "").split(" ").filter((place) => place !== "");
  const place = places[words] ?? places.findLast((word) => word.includes("…")) ?? "";
  return valuesOf(place.replaceAll(/[[\]…]/g, ""), { line, current, io });
}

/** Words that stand for a value, and what stands for the names the proxy has. */
async function valuesOf(
  value: string,
  { line, current, io }: { readonly line: Line; readonly current: string; readonly io: CommandIo },
): Promise<readonly Offer[]> {
  const fixed = VALUES[value];
  if (fixed !== undefined) return inList(fixed, current);
  switch (value) {
    case "FILE":
    case "DIR":
      return [FILES];
    case "TYPES": {
      const { EVENT_TYPES } = await import("../core/event_schema.ts");
      return inList(EVENT_TYPES, current);
    }
    case "SERVER":
    case "SERVERS":
      return inList(await namesFrom("/servers", { line, io, of: "servers", key: "name" }), current);
    case "GROUP":
    case "GROUPS":
      return inList(await namesFrom("/groups", { line, io, of: "groups", key: "slug" }), current);
    case "TOOL":
      return (await namesFrom("/tools", { line, io, of: "tools", key: "id" })).map((word) => ({ word }));
    case "ID":
      if (line.noun !== "config") return [];
      return (await namesFrom("/config/history", { line, io, of: "entries", key: "id" })).map((word) => ({
        word,
      }));
    default:
      return [];
  }
}

/** Words behind those that stand before the last comma. */
function inList(words: readonly string[], current: string): readonly Offer[] {
  const head = current.slice(0, current.lastIndexOf(",") + 1);
  return words.map((word) => ({ word: `${head}${word}` }));
}

interface NamesOptions {
  readonly line: Line;
  readonly io: CommandIo;
  /** The key of the list in the answer, and that of the name. */
  readonly of: string;
  readonly key: string;
}

/** Names the proxy knows; none when it does not answer at once. */
async function namesFrom(path: string, { line, io, of, key }: NamesOptions): Promise<readonly string[]> {
  const ask = async (): Promise<readonly string[]> => {
    const { flags } = readWords("status", []);
    const api = await findDaemon({ ...flags, ...line.flags }, io);
    const list = ((await api.get(path)).data as Readonly<Record<string, unknown>>)[of];
    return Array.isArray(list)
      ? list.map((item: Readonly<Record<string, unknown>>) => String(item[key]))
      : [];
  };
  const { promise: late, resolve } = Promise.withResolvers<readonly string[]>();
  const timer = setTimeout(() => resolve([]), PATIENCE_MS);
  try {
    return await Promise.race([ask(), late]);
  } catch {
    return [];
  } finally {
    clearTimeout(timer);
  }
}
