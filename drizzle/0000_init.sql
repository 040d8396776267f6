CREATE TABLE `servers` (
	`name` text PRIMARY KEY NOT NULL,
	`era` text,
	`discovery` text,
	`transport` text,
	`ever_connected` integer DEFAULT false NOT NULL,
	`connected_at` integer,
	`connect_ms` integer,
	`tool_count` integer DEFAULT 0 NOT NULL,
	`first_seen_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `tools` (
	`server` text NOT NULL,
	`name` text NOT NULL,
	`definition` text NOT NULL,
	`fingerprint` text NOT NULL,
	PRIMARY KEY(`server`, `name`)
);
