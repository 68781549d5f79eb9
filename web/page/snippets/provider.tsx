import { PresenceProvider } from '@rollcall/client/react'
import { WhoIsOnline } from './who-is-online.tsx'

export const app = (
  <PresenceProvider url="/graphql" token="dev:alice">
    <WhoIsOnline />
  </PresenceProvider>
)
