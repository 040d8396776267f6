CREATE TABLE `commits` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`kind` text NOT NULL,
	`old_hash` text NOT NULL,
	`new_hash` text NOT NULL,
	`state` text NOT NULL,
	`effects` text,
	`summary` text NOT NULL,
	`at` integer NOT NULL
);
--> statement-breakpoint
ALTER TABLE `servers` ADD `definition_hash` text;--> statement-breakpoint
ALTER TABLE `servers` ADD `approved_hash` text;