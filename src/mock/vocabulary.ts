/**
 * The words mock servers and their tools are made of.
 *
 * Owns lists only. Invariant: their order decides what a seed makes, so a word is added at the end of its list.
 * Real servers' texts were rejected: they are others' property, and their lengths can be had without them.
 */

/** What servers are about. */
export const SERVICES = words(`
  github gitlab jira confluence slack discord notion linear asana trello postgres mysql sqlite redis mongo
  elastic kafka rabbit docker kubernetes terraform ansible aws azure gcp cloudflare vercel netlify stripe
  paypal shopify hubspot salesforce zendesk intercom mailgun sendgrid twilio calendar drive sheets docs
  gmail outlook teams zoom figma miro browser puppeteer filesystem git shell python jupyter pandas weather
  maps geocode news arxiv wikipedia youtube spotify reddit hackernews sentry datadog grafana prometheus
  pagerduty memory fetch time search translate pdf image audio video crypto stocks`);

/** What tools do. */
export const VERBS = words(`
  list get create update delete search find read write send fetch upload download move copy rename archive
  restore export import query run start stop restart validate analyze summarize convert merge split compare
  count watch lock approve reject assign label comment publish schedule cancel sync`);

/** What they do it to. */
export const NOUNS = words(`
  file folder issue comment branch commit repository pipeline message channel thread user team project board
  card page document table row column record index collection topic queue container image pod service cluster
  bucket object function deployment domain invoice payment customer order product ticket contact campaign
  event calendar attendee meeting sheet cell range slide frame screenshot element cookie tab package module
  notebook dataset forecast location route article paper video playlist track post alert metric dashboard
  incident entity relation observation snapshot schedule template webhook token secret role policy`);

/** Names of arguments. */
export const PARAMETERS = words(`
  id name path query limit offset cursor title body content owner repo branch format language encoding
  timeout recursive force tags labels status priority assignee start_date end_date timezone latitude longitude
  width height quality url selector channel thread_id user_id include_deleted sort_by order fields filter`);

/** Ends of a first sentence. */
export const QUALIFIERS: readonly string[] = [
  "by its id",
  "with pagination",
  "that match a filter",
  "in the current workspace",
  "for the authenticated account",
  "and return the result as JSON",
  "including nested items",
  "between two dates",
  "from the default branch",
  "and wait until it has finished",
  "without changing anything else",
  "using the server's own permissions",
];

/** Further sentences of a description. */
export const SENTENCES: readonly string[] = [
  "Results are sorted by the time of the last change unless an order is given.",
  "Large answers are cut off; use the cursor to read on.",
  "Requires the matching scope on the access token.",
  "Returns an error when the item does not exist or has been archived.",
  "Dates are ISO 8601 and interpreted in the given timezone.",
  "Prefer this tool over a plain search when the id is known.",
  "The operation is idempotent and safe to repeat.",
  "Rate limits of the remote service apply.",
];

function words(text: string): readonly string[] {
  return text.trim().split(/\s+/);
}
