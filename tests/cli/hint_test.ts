/**
 * Hints of the API at a shell: each names a command there is.
 */
import { expect, test } from "bun:test";
import { COMMANDS } from "../../src/cli/commands.ts";
import { hintOfCommandLine } from "../../src/cli/hint.ts";

test.each([
  ["List them with GET /api/v1/servers", "List them with 'mcpproxy servers list'"],
  ["List the tokens with GET /api/v1/tokens", "List the tokens with 'mcpproxy token list'"],
  [
    "Remove those that are revoked or expired: DELETE /api/v1/tokens/NAME/permanent",
    "Remove those that are revoked or expired: 'mcpproxy token delete NAME'",
  ],
  ["GET /api/v1/activity lists what is kept", "'mcpproxy activity list' lists what is kept"],
  ["GET /config/history lists the ids", "'mcpproxy config history' lists the ids"],
  ["Take the 'id' that retrieve_tools gives", "Take the 'id' that 'mcpproxy tools search' gives"],
  ["Did you mean 'retrieve_tools'?", "Did you mean 'retrieve_tools'?"],
  ["Call it through 'call_tool_write'", "Call it through 'mcpproxy call tool-write'"],
  ["Start it with 'mcpproxy serve'", "Start it with 'mcpproxy serve'"],
])("hintOfCommandLine(%j) is %j", (theirs, ours) => {
  expect(hintOfCommandLine(theirs)).toBe(ours);
  const [, noun = "", verb = ""] = /'mcpproxy (\S+?)(?: (\S+?))?(?: NAME)?'/.exec(ours) ?? [];
  const name = [noun, verb].filter(Boolean).join(" ");
  expect(name === "" || Object.hasOwn(COMMANDS, name)).toBe(true);
});
