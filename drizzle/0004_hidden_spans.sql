CREATE TABLE "rollcall"."hidden_spans" (
	"user_id" text COLLATE "C" NOT NULL,
	"started_at" timestamp (3) with time zone NOT NULL,
	"ended_at" timestamp (3) with time zone,
	CONSTRAINT "hidden_spans_user_id_started_at_pk" PRIMARY KEY("user_id","started_at")
);
--> statement-breakpoint
ALTER TABLE "rollcall"."users" ADD COLUMN "hiding_known_since" timestamp (3) with time zone DEFAULT now();--> statement-breakpoint
-- Users who are there have the moment of this migration, of which no row is rewritten; later ones have no such moment.
ALTER TABLE "rollcall"."users" ALTER COLUMN "hiding_known_since" DROP DEFAULT;--> statement-breakpoint
ALTER TABLE "rollcall"."hidden_spans" ADD CONSTRAINT "hidden_spans_user_id_users_id_fk" FOREIGN KEY ("user_id") REFERENCES "rollcall"."users"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "hidden_spans_ended" ON "rollcall"."hidden_spans" USING btree ("ended_at");--> statement-breakpoint
CREATE UNIQUE INDEX "hidden_spans_open" ON "rollcall"."hidden_spans" USING btree ("user_id") WHERE "rollcall"."hidden_spans"."ended_at" is null;
--> statement-breakpoint
INSERT INTO "rollcall"."hidden_spans" ("user_id", "started_at") SELECT "id", '-infinity' FROM "rollcall"."users" WHERE "visibility" = 'NOBODY';
--> statement-breakpoint
CREATE FUNCTION "rollcall"."note_hiding"() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
  IF new.visibility = 'NOBODY' THEN
    -- A version that rises by more than one, or a row that is hidden from its first moment, was brought to what the live
    -- state knew before: nobody knows since when they hide.
    IF NOT EXISTS (SELECT FROM rollcall.hidden_spans WHERE user_id = new.id AND ended_at IS NULL) THEN
      INSERT INTO rollcall.hidden_spans (user_id, started_at) VALUES (new.id, CASE
        WHEN tg_op = 'UPDATE' AND new.settings_version = old.settings_version + 1 THEN now() ELSE '-infinity' END)
      ON CONFLICT (user_id, started_at) DO UPDATE SET ended_at = NULL;
    END IF;
  ELSE
    UPDATE rollcall.hidden_spans SET ended_at = clock_timestamp() WHERE user_id = new.id AND ended_at IS NULL;
  END IF;
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER "note_hiding_of_new" AFTER INSERT ON "rollcall"."users"
  FOR EACH ROW WHEN (new.visibility = 'NOBODY') EXECUTE FUNCTION "rollcall"."note_hiding"();
--> statement-breakpoint
CREATE TRIGGER "note_hiding" AFTER UPDATE OF "visibility" ON "rollcall"."users"
  FOR EACH ROW WHEN (old.visibility IS DISTINCT FROM new.visibility) EXECUTE FUNCTION "rollcall"."note_hiding"();
