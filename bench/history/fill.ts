/** A history of 120 days as the recorder leaves it: rows lie in the order in which their sessions ended. */
import type { Sql } from 'postgres'

export interface Size {
  readonly sessionCount: number
  readonly userCount: number
}

/** Sessions that are open when the history ends. */
const OPEN_SHARE = 0.003

export async function fill(sql: Sql, { sessionCount, userCount }: Size): Promise<void> {
  // Rows first, then their indexes: a third of the time. The names of the users are right.
  const indexes = await sql`
    select indexname as name, indexdef as definition from pg_indexes
    where schemaname = 'rollcall' and tablename = 'presence_sessions' and indexname not like '%pkey'`
  for (const { name } of indexes) await sql.unsafe(`drop index rollcall.${name}`)
  await sql.unsafe('alter table rollcall.presence_sessions drop constraint presence_sessions_pkey')
  await sql.unsafe(`
    set session_replication_role = replica;
    select setseed(0.5);
    insert into rollcall.users (id, name, last_active)
    select 'user-' || number, 'User ' || number, now() from generate_series(1, ${userCount}) as number;
    insert into rollcall.presence_sessions
      (id, user_id, client_session_id, device, rooms, node, has_socket, started_at, last_active, ended_at, end_reason)
    select gen_random_uuid(),
      -- A tenth of the users has two thirds of the sessions.
      'user-' || (1 + floor(${userCount} * power(random(), 2.5)))::integer,
      gen_random_uuid()::text,
      (array['Firefox on Linux', 'Chrome on Windows', 'Safari on iPhone', 'Chrome on Android', null])[1 + floor(random() * 5)::integer],
      array['team:' || floor(random() * 1000)::integer], 'node-' || floor(random() * 4)::integer, true,
      started_at, started_at + lasted * 0.9, started_at + lasted,
      (array['CLOSED', 'LOST', 'WENT_OFFLINE'])[1 + floor(random() * 3)::integer]
    from (
      select started_at, -ln(1 - random()) * interval '25 minutes' as lasted
      from (
        select now() - interval '120 days' * (1 - number::float8 / ${sessionCount}) - interval '3 hours' as started_at
        from generate_series(1, ${sessionCount}) as number
      ) as started
    ) as session
    order by started_at + lasted;
    update rollcall.presence_sessions set ended_at = null, end_reason = null
    where id in (
      select id from rollcall.presence_sessions order by ended_at desc limit ${Math.round(sessionCount * OPEN_SHARE)}
    );
  `)
  await sql.unsafe(`set session_replication_role = default; set maintenance_work_mem = '256MB'`)
  await sql.unsafe('alter table rollcall.presence_sessions add primary key (id)')
  for (const { definition } of indexes) await sql.unsafe(String(definition))
  await sql.unsafe('vacuum analyze rollcall.presence_sessions')
  await sql.unsafe('vacuum analyze rollcall.users')
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
