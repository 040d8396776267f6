/**
 * The version of this program.
 *
 * Owns nothing but the one place where it is read, so that the command line, the MCP handshake and the
 * REST API never disagree. A constant in the source was rejected: it would be bumped in two places.
 */
import manifest from "../../package.json" with { type: "json" };

/** The version in `package.json`, embedded when the binary is compiled. */
export const VERSION: string = manifest.version;
