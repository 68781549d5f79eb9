export {
  type Asking,
  type InRoom,
  type MyPresence,
  useLink,
  useMyPresence,
  useOnlineCount,
  useOnlineUsers,
  useRoom,
  useUser,
  useUsers,
} from './hooks.ts'
export { OnlineUsers, type OnlineUsersProps } from './online-users.tsx'
export {
  AvatarStack,
  type AvatarStackProps,
  LastSeen,
  type LastSeenProps,
  PresenceDot,
  type PresenceDotProps,
} from './parts.tsx'
export { PresenceProvider, type PresenceProviderProps, usePresence } from './provider.tsx'
