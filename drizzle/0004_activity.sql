CREATE TABLE `activity` (
	`id` integer PRIMARY KEY NOT NULL,
	`at` integer NOT NULL,
	`type` text NOT NULL,
	`source` text NOT NULL,
	`status` text NOT NULL,
	`server` text,
	`tool` text,
	`intent` text,
	`duration_ms` real,
	`request_id` text,
	`session` text,
	`principal` text,
	`message` text,
	`detail` text
);
--> statement-breakpoint
CREATE INDEX `activity_request` ON `activity` (`request_id`);