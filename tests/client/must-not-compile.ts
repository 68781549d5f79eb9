/**
 * What must not compile of the kit: `tsc --noEmit -p client` fails where one of the lines marked `@ts-expect-error` is no
 * error.
 *
 * Nothing here runs.
 */
import type { Presence } from '../../client/src/index.ts'

export async function kit(presence: Presence): Promise<unknown[]> {
  const viewer = await presence.setStatus('BUSY', null)
  // @ts-expect-error Nobody can choose to be online.
  await presence.setStatus('ONLINE')
  // @ts-expect-error A message alone is no choice.
  await presence.setStatus({ message: 'Lunch' })
  const { link, users } = { link: presence.link.getSnapshot(), users: presence.onlineUsers().getSnapshot().users }
  return [
    viewer.statusChoice,
    // @ts-expect-error A viewer has no such field.
    viewer.password,
    // @ts-expect-error Whether it waits has to be asked first.
    link.retryAt.getTime(),
    // @ts-expect-error A moment is a text, no Date.
    users[0]?.onlineSince?.getTime(),
  ]
}
