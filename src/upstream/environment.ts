/**
 * The environment a started server gets.
 *
 * Owns the allow-list of variables that pass from the proxy to its children. Invariant: nothing else of
 * the proxy's own environment reaches a child unless the configuration names it, so a secret meant for
 * one server is not seen by the others. Passing everything on was rejected: it is how keys leak.
 */
import type { EnvironmentSettings } from "../core/settings.ts";

/** Variables that say where things are, and none that grants anything. */
const SAFE_VARS: ReadonlySet<string> = new Set(
  `
    PATH HOME USER USERNAME LOGNAME SHELL TERM TZ LANG LANGUAGE
    TMPDIR TMP TEMP XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_RUNTIME_DIR
    SSL_CERT_FILE SSL_CERT_DIR NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    USERPROFILE APPDATA LOCALAPPDATA PROGRAMFILES PROGRAMDATA SYSTEMROOT COMSPEC PATHEXT
  `
    .trim()
    .split(/\s+/),
);

type Variables = Readonly<Record<string, string | undefined>>;

/** Picks what a child may see of `own`, then lays the configured variables over it. */
export function childEnvironment(
  own: Variables,
  options: {
    readonly settings: EnvironmentSettings;
    readonly configured: ReadonlyMap<string, string>;
    /** In the place of the proxy's own PATH. */
    readonly path?: string | undefined;
  },
): Record<string, string> {
  const { settings, configured, path } = options;
  const allowed = new Set(settings.allowedSystemVars);
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(own)) {
    if (value === undefined) continue;
    const isSafe = settings.inheritSystemSafe && (SAFE_VARS.has(name) || name.startsWith("LC_"));
    if (isSafe || allowed.has(name)) result[name] = value;
  }
  if (path !== undefined) result["PATH"] = path;
  for (const [name, value] of settings.customVars) result[name] = value;
  for (const [name, value] of configured) result[name] = value;
  return result;
}
