ALTER TABLE `servers` ADD `failed_last` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `servers` ADD `mode` text;--> statement-breakpoint
ALTER TABLE `servers` ADD `former_mode` text;--> statement-breakpoint
ALTER TABLE `servers` ADD `auto_disabled` text;