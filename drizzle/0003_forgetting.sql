CREATE TABLE "rollcall"."revocations" (
	"user_hash" "bytea" PRIMARY KEY NOT NULL,
	"tokens_valid_after" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "rollcall"."recorder_checkpoint" ADD COLUMN "forgotten_count" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
CREATE INDEX "revocations_by_age" ON "rollcall"."revocations" USING btree ("tokens_valid_after");--> statement-breakpoint
CREATE FUNCTION "rollcall"."keep_revocation"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  INSERT INTO rollcall.revocations AS known (user_hash, tokens_valid_after)
  VALUES (sha256(convert_to(old.id, 'UTF8')), old.tokens_valid_after)
  ON CONFLICT (user_hash) DO UPDATE SET tokens_valid_after = greatest(known.tokens_valid_after, excluded.tokens_valid_after);
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER "keep_revocation" AFTER DELETE ON "rollcall"."users"
  FOR EACH ROW WHEN (old.tokens_valid_after IS NOT NULL) EXECUTE FUNCTION "rollcall"."keep_revocation"();
--> statement-breakpoint
CREATE FUNCTION "rollcall"."forget_user"(forgotten_id text) RETURNS void LANGUAGE plpgsql SET lock_timeout = '1s' AS $$
BEGIN
  -- Each batch of the recorder locks this row first: none is under way from here on, and one that waits for it finds
  -- another count and writes nothing.
  UPDATE rollcall.recorder_checkpoint SET forgotten_count = forgotten_count + 1;
  -- Waits for a statement that is making the row, so that the next one sees it.
  INSERT INTO rollcall.users (id) VALUES (forgotten_id) ON CONFLICT (id) DO NOTHING;
  DELETE FROM rollcall.users WHERE id = forgotten_id;
END $$;
