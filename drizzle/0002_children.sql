CREATE TABLE `children` (
	`pid` integer PRIMARY KEY NOT NULL,
	`pgid` integer NOT NULL,
	`born` text NOT NULL,
	`instance` text NOT NULL,
	`server` text NOT NULL
);
