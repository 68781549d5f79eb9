import { builder } from './builder.ts'

export const PresenceStatusEnum = builder.enumType('PresenceStatus', {
  description: 'What everyone sees of how present a user is.',
  values: {
    ONLINE: { description: 'There, and active a moment ago.' },
    AWAY: { description: 'There, but not active for a while, or away by choice.' },
    BUSY: { description: 'There, and does not want to be disturbed.' },
    OFFLINE: { description: 'Not there, or not to be seen.' },
  } as const,
})

export const StatusChoiceEnum = builder.enumType('StatusChoice', {
  description: 'What a user chose their status to be while they are online.',
  values: {
    AUTOMATIC: { description: '`ONLINE`, and `AWAY` after a while without activity.' },
    AWAY: { description: 'Away, whatever they do.' },
    BUSY: { description: 'Busy, whatever they do.' },
  } as const,
})

export const VisibilityEnum = builder.enumType('Visibility', {
  description: 'Who may see that a user is online.',
  values: {
    EVERYONE: { description: 'Every caller who may see users at all.' },
    NOBODY: { description: 'Nobody but the user: to all others they look offline.' },
  } as const,
})

export const EndReasonEnum = builder.enumType('EndReason', {
  description: 'Why a session ended.',
  values: {
    CLOSED: { description: 'Its client closed the socket.' },
    LOST: { description: 'Its connection was lost.' },
    EXPIRED: { description: 'No heartbeat came over HTTP.' },
    WENT_OFFLINE: { description: 'The user went offline.' },
    DISCONNECTED: { description: '`disconnectUser` ended it.' },
    DISPLACED: { description: 'The user had too many sessions, and a newer one took its place.' },
    TAKEN_OVER: { description: 'It was the session `default`, and a socket of the user attached.' },
    NODE_LOST: { description: 'The server process of its socket died.' },
    SERVER_RESTART: { description: 'The server restarted, and nobody came back.' },
    UNRECORDED: { description: 'Its end was lost; the moment is that of its last known activity.' },
  } as const,
})

export const PresenceChangeKindEnum = builder.enumType('PresenceChangeKind', {
  description: 'What a change means for a list of online users.',
  values: {
    JOIN: { description: 'Add the user: they came online, or into the room.' },
    UPDATE: { description: 'Replace the user: they stay online, and a field that everyone sees changed.' },
    LEAVE: { description: 'Remove the user: they went offline, or out of the room.' },
  } as const,
})
