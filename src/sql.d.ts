/** The type of a migration that is embedded as text. */
declare module "*.sql" {
  const sql: string;
  export default sql;
}
