/**
 * Turns texts and identifiers into search words.
 *
 * Owns word boundaries (white space, punctuation, snake, kebab, dots, camel), folding of case and
 * diacritics, English stemming, the stop list, and pairs for scripts without spaces. Invariants: the
 * same text gives the same words for documents and for queries; the work is bounded by the caps below;
 * nothing is cached by text, single words only. Orama's own tokenizer was rejected: it drops every non-Latin script and
 * its cache grows for ever.
 */
import { components } from "@orama/orama";

/** Longest text that is looked at. */
const MAX_TEXT_CHARS = 4_000;
/** Most words taken from one text. */
const MAX_WORDS = 1_000;
/** Longest word; longer ones are blobs. */
const MAX_WORD_CHARS = 40;
/** Longer words are joined identifiers, not English: they stay as they are. */
const MAX_STEMMED_CHARS = 16;
/** Runs whose words are remembered: those used since it was half full, and those before. */
const PIECE_MEMORY = 8_192;

/** What a text is to the tokenizer. */
export interface TokenizeOptions {
  /** Keep words of the stop list, as names of tools and parameters do. @default false */
  readonly keepsStopWords?: boolean;
  /** Add each compound identifier in one piece too: `readfile` for `read_file`. @default false */
  readonly joinsIdentifiers?: boolean;
}

/** Words that tell nothing about a tool, and the politeness of questions. */
const STOP_WORDS: ReadonlySet<string> = new Set(
  (
    "a about again all also am an and any are as at be been being both but by can could d did do does doing don done down " +
    "each either else few for from further had has have having he her here hers him his how i if im in into is it its " +
    "itself just let like ll m may me might more most must my need neither no nor not now of off on once only or other our " +
    "ours out over own please re s same shall she should so some such t than that the their them then there these they " +
    "this those through to too under up us ve very want was we were what when where which while who whom whose why will " +
    "with would you your yours"
  ).split(" "),
);

const UNSTEMMED = /[^a-z]/;
const NON_ASCII = /[^\0-\x7f]/;
const SPACELESS =
  "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
const WORDS = new RegExp(`[${SPACELESS}]+|[[\\p{L}\\p{N}\\p{M}]--[${SPACELESS}]]+`, "gv");
const STARTS_SPACELESS = new RegExp(`^[${SPACELESS}]`, "v");
/** What `_` and `-` join is one run: an identifier is looked up once, not word by word. */
const ASCII_RUNS = /[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*/g;
const JOINTS = /[_-]/g;
const IS_COMPOUND = /[_-]|[a-z0-9][A-Z]/;
const HUMPS = /[a-z0-9](?=[A-Z])|[A-Z](?=[A-Z][a-z])/g;
const HUMPS_ANY = /[\p{Ll}\p{N}](?=\p{Lu})|\p{Lu}(?=\p{Lu}\p{Ll})/gu;
const COMPOUND = /[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)+|[A-Za-z0-9]*[a-z0-9][A-Z][A-Za-z0-9]*/g;

/** What one run of letters and digits is made of. */
interface Piece {
  readonly words: readonly string[];
  /** The same without stop words. */
  readonly telling: readonly string[];
  /** The whole in one word, when it is an identifier of several. */
  readonly joined: string | undefined;
}

const porter = makeStemmer();
let pieces = new Map<string, Piece>();
let olderPieces: ReadonlyMap<string, Piece> = pieces;

/** Splits a text into search words, in the order of the text, repeated words included. */
export function tokenize(text: string, options: TokenizeOptions = {}): string[] {
  const source = text.length > MAX_TEXT_CHARS ? text.slice(0, MAX_TEXT_CHARS) : text;
  return NON_ASCII.test(source) ? wordsOfAny(source, options) : wordsOfAscii(source, options);
}

/** One pass with one look-up a run: nearly all texts of tools are of this kind. */
function wordsOfAscii(source: string, options: TokenizeOptions): string[] {
  const { keepsStopWords = false, joinsIdentifiers = false } = options;
  const words: string[] = [];
  const joined: string[] = [];
  for (const run of source.match(ASCII_RUNS) ?? []) {
    if (words.length >= MAX_WORDS) return words;
    const piece = pieceOf(run);
    if (piece.joined !== undefined) joined.push(piece.joined);
    for (const word of keepsStopWords ? piece.words : piece.telling)
      if (words.length < MAX_WORDS) words.push(word);
  }
  if (joinsIdentifiers) addJoined(joined, words);
  return words;
}

function wordsOfAny(source: string, options: TokenizeOptions): string[] {
  const { keepsStopWords = false, joinsIdentifiers = false } = options;
  const words: string[] = [];
  for (const run of source.normalize("NFKC").match(WORDS) ?? []) {
    if (words.length >= MAX_WORDS) return words;
    if (STARTS_SPACELESS.test(run)) {
      addPairs(run, words);
      continue;
    }
    const piece = pieceOf(run);
    for (const word of keepsStopWords ? piece.words : piece.telling) words.push(word);
  }
  const compounds = joinsIdentifiers ? (source.match(COMPOUND) ?? []) : [];
  addJoined(
    compounds.flatMap((compound) => pieceOf(compound).joined ?? []),
    words,
  );
  return words;
}

function pieceOf(run: string): Piece {
  const known = pieces.get(run);
  if (known !== undefined) return known;
  const older = olderPieces.get(run);
  if (older !== undefined) return remember(run, older);
  const parts = (
    NON_ASCII.test(run)
      ? withoutMarks(run).replace(HUMPS_ANY, "$& ")
      : run.replace(JOINTS, " ").replace(HUMPS, "$& ")
  )
    .toLowerCase()
    .split(" ")
    .map(capped)
    .filter((part) => part !== "");
  const words = parts.map(stemOf);
  const telling = words.filter((_, at) => !STOP_WORDS.has(parts[at] ?? ""));
  const joined = IS_COMPOUND.test(run) ? stemOf(capped(run.replace(JOINTS, "").toLowerCase())) : undefined;
  const piece = { words, telling, joined };
  return run.length <= MAX_WORD_CHARS ? remember(run, piece) : piece;
}

function remember(run: string, piece: Piece): Piece {
  if (pieces.size >= PIECE_MEMORY / 2) {
    olderPieces = pieces;
    pieces = new Map();
  }
  pieces.set(run, piece);
  return piece;
}

/** Scripts without spaces are searched by pairs of characters; a lone character stays. */
function addPairs(piece: string, words: string[]): void {
  const letters = Array.from(piece);
  if (letters.length === 1) words.push(piece);
  for (let at = 0; at + 1 < letters.length && words.length < MAX_WORDS; at += 1) {
    words.push(`${letters[at]}${letters[at + 1]}`);
  }
}

function addJoined(joined: readonly string[], words: string[]): void {
  for (const word of joined) {
    if (words.length >= MAX_WORDS) return;
    if (!words.includes(word)) words.push(word);
  }
}

function withoutMarks(piece: string): string {
  return piece.normalize("NFD").replace(/\p{M}+/gu, "");
}

function capped(word: string): string {
  return word.length > MAX_WORD_CHARS ? word.slice(0, MAX_WORD_CHARS) : word;
}

/** What is no English word stays as it is; that saves most of the time, since most words are rare. */
function stemOf(word: string): string {
  return word.length > MAX_STEMMED_CHARS || UNSTEMMED.test(word) ? word : porter(word);
}

function makeStemmer(): (word: string) => string {
  const { stemmer } = components.tokenizer.createTokenizer({ language: "english", stemming: true });
  if (stemmer === undefined) throw new TypeError("Cannot make the tokenizer: Orama has no English stemmer");
  return stemmer;
}
