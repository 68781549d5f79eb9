CREATE SCHEMA IF NOT EXISTS "rollcall";
--> statement-breakpoint
CREATE TABLE "rollcall"."presence_sessions" (
	"id" uuid PRIMARY KEY NOT NULL,
	"user_id" text COLLATE "C" NOT NULL,
	"client_session_id" text NOT NULL,
	"device" text,
	"rooms" text[] DEFAULT '{}' NOT NULL,
	"node" text,
	"has_socket" boolean NOT NULL,
	"started_at" timestamp (3) with time zone NOT NULL,
	"last_active" timestamp (3) with time zone NOT NULL,
	"ended_at" timestamp (3) with time zone,
	"end_reason" text,
	CONSTRAINT "presence_sessions_ended_for_a_reason" CHECK (("rollcall"."presence_sessions"."ended_at" is null) = ("rollcall"."presence_sessions"."end_reason" is null))
);
--> statement-breakpoint
CREATE TABLE "rollcall"."recorder_checkpoint" (
	"id" smallint PRIMARY KEY DEFAULT 1 NOT NULL,
	"epoch" text NOT NULL,
	"seq" bigint NOT NULL,
	"holder" text,
	"held_until" timestamp (3) with time zone,
	CONSTRAINT "recorder_checkpoint_one_row" CHECK ("rollcall"."recorder_checkpoint"."id" = 1)
);
--> statement-breakpoint
CREATE TABLE "rollcall"."users" (
	"id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"name" text,
	"avatar_url" text,
	"profile_issued_at" timestamp (3) with time zone,
	"is_online" boolean DEFAULT false NOT NULL,
	"last_active" timestamp (3) with time zone,
	"online_since" timestamp (3) with time zone,
	"chosen_status" text DEFAULT 'AUTOMATIC' NOT NULL,
	"status_message" text,
	"visibility" text DEFAULT 'EVERYONE' NOT NULL,
	"hide_last_active" boolean DEFAULT false NOT NULL,
	"settings_version" integer DEFAULT 0 NOT NULL,
	"tokens_valid_after" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "users_chosen_status" CHECK ("rollcall"."users"."chosen_status" in ('AUTOMATIC', 'AWAY', 'BUSY')),
	CONSTRAINT "users_visibility" CHECK ("rollcall"."users"."visibility" in ('EVERYONE', 'NOBODY'))
);
--> statement-breakpoint
ALTER TABLE "rollcall"."presence_sessions" ADD CONSTRAINT "presence_sessions_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "rollcall"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "presence_sessions_by_end" ON "rollcall"."presence_sessions" USING btree ("user_id","ended_at");--> statement-breakpoint
CREATE INDEX "presence_sessions_open" ON "rollcall"."presence_sessions" USING btree ("user_id") WHERE "rollcall"."presence_sessions"."ended_at" is null;--> statement-breakpoint
CREATE INDEX "users_online" ON "rollcall"."users" USING btree ("id") WHERE "rollcall"."users"."is_online";