/** The types of page files that are embedded as text; Bun's own types have those of HTML. */
declare module "*.css" {
  const css: string;
  export default css;
}
declare module "*/page.js" {
  const script: string;
  export default script;
}
declare module "*/reference.js" {
  const script: string;
  export default script;
}
