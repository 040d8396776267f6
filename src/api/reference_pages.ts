/**
 * The reference of pages, and of this document.
 *
 * Owns what is said of them in short: a page is to be looked at.
 */
import { jsonObject } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";

/** Pages, and the document. */
export const PAGE_ROUTES = {
  "GET /openapi.json": {
    id: "getReference",
    tag: "pages",
    summary: "This document: OpenAPI 3.1",
    access: "open",
    others: { 200: { description: "The document", json: jsonObject } },
  },
  "GET /docs": {
    id: "readReference",
    tag: "pages",
    summary: "This document as a page",
    access: "open",
    others: { 200: { description: "The page", media: "text/html" } },
  },
  "GET /docs/:file": {
    id: "getReferenceFile",
    tag: "pages",
    summary: "A script or a style sheet of that page",
    access: "open",
    others: { 200: { description: "The file", media: "text/javascript" } },
    errors: ["ROUTE_UNKNOWN"],
  },
  "GET /ui/": {
    id: "openPage",
    tag: "pages",
    summary: "The operator's page; what it shows it asks for with the key",
    access: "open",
    others: { 200: { description: "The page", media: "text/html" } },
    errors: ["ROUTE_UNKNOWN"],
  },
  "GET /ui/:file": {
    id: "getPageFile",
    tag: "pages",
    summary: "A script or a style sheet of a page",
    access: "open",
    others: { 200: { description: "The file", media: "text/javascript" } },
    errors: ["ROUTE_UNKNOWN"],
  },
  "GET /ui": {
    id: "redirectToPage",
    tag: "pages",
    summary: "Leads to /ui/",
    access: "open",
    others: { 302: { description: "To /ui/" } },
    errors: ["ROUTE_UNKNOWN"],
  },
  "GET /": {
    id: "redirectRoot",
    tag: "pages",
    summary: "Leads a browser to /ui/, and tells an MCP client where to connect",
    access: "open",
    others: { 302: { description: "To /ui/" } },
    errors: ["ROUTE_UNKNOWN"],
  },
} as const satisfies RouteTable;
