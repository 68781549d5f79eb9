CREATE TABLE "rollcall"."recorder_set_aside" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "rollcall"."recorder_set_aside_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"user_id" text COLLATE "C" NOT NULL,
	"record" jsonb NOT NULL
);
--> statement-breakpoint
ALTER TABLE "rollcall"."recorder_checkpoint" ADD COLUMN "moved_at" timestamp (3) with time zone;--> statement-breakpoint
CREATE INDEX "recorder_set_aside_by_user" ON "rollcall"."recorder_set_aside" USING btree ("user_id","id");
--> statement-breakpoint
CREATE OR REPLACE FUNCTION "rollcall"."forget_user"(forgotten_id text) RETURNS void LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
BEGIN
  -- Each batch of the recorder locks this row first: none is under way from here on, and one that waits for it finds
  -- another count and writes nothing.
  UPDATE rollcall.recorder_checkpoint SET forgotten_count = forgotten_count + 1;
  -- Waits for records of theirs that are just being written from here; none is written afterwards.
  DELETE FROM rollcall.recorder_set_aside WHERE user_id = forgotten_id;
  -- Waits for a statement that is making the row, so that the next one sees it.
  INSERT INTO rollcall.users (id) VALUES (forgotten_id) ON CONFLICT (id) DO NOTHING;
  DELETE FROM rollcall.users WHERE id = forgotten_id;
END $$;
