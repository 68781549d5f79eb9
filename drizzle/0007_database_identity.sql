CREATE TABLE "rollcall"."database_identity" (
	"id" smallint PRIMARY KEY DEFAULT 1 NOT NULL,
	"database_id" uuid DEFAULT gen_random_uuid() NOT NULL,
	CONSTRAINT "database_identity_one_row" CHECK ("rollcall"."database_identity"."id" = 1)
);
