/** Reads from Postgres what the live state cannot tell: who was online, and whose tokens were revoked. */
import type { UserDirectory } from '../presence/directory.ts'
import type { PresenceStore } from '../presence/store.ts'

/** Users per page. */
const BATCH_ADOPTED = 500

/** Adopts the users that an earlier live state left behind, and those who are online in Postgres. */
export async function adoptWhatWasLeft(directory: UserDirectory, store: PresenceStore): Promise<void> {
  for (;;) {
    const users = await store.inherited(BATCH_ADOPTED)
    if (users.length === 0) break
    const recorded = await directory.recorded(users)
    // A live state restored from a backup may have users who were forgotten since.
    for (const { userId, tokensValidAfterMs, isForgotten } of recorded) {
      if (isForgotten) await store.forget({ userId, tokensIssuedUpToMs: tokensValidAfterMs ?? 0 })
    }
    await store.adopt(recorded.filter(({ isForgotten }) => !isForgotten))
  }
  let after: string | null = null
  for (;;) {
    const users = await directory.leftOpen(after, BATCH_ADOPTED)
    await store.adopt(users)
    after = users.at(-1)?.userId ?? null
    if (users.length < BATCH_ADOPTED) return
  }
}

/** Closes the sockets and streams of users whose tokens another node may have revoked. */
export async function dismissRevoked(
  userIds: ReadonlySet<string>,
  directory: UserDirectory,
  dismiss: (userId: string, issuedUpToMs: number) => void,
): Promise<void> {
  directory.forgetRevocations()
  for (const userId of userIds) {
    const validAfterMs = await directory.tokensValidAfterMs(userId)
    if (validAfterMs !== null) dismiss(userId, validAfterMs)
  }
}
