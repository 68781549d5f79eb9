export { RollcallError } from './errors.ts'
export { createPresence, type Presence, type PresenceOptions } from './presence.ts'
export type {
  CountSnapshot,
  Freshness,
  LinkSnapshot,
  MeSnapshot,
  OnlineIdsSnapshot,
  OnlineUsersSnapshot,
  OnlineUsersStore,
  PresenceStatus,
  Session,
  StatusChoice,
  Store,
  User,
  UserSnapshot,
  UsersSnapshot,
  Viewer,
  Visibility,
} from './types.ts'
