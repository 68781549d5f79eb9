-- Null for the users who are there: nobody wrote down when others last saw them.
ALTER TABLE "rollcall"."users" ADD COLUMN "last_seen" timestamp (3) with time zone;