import { OnlineUsers } from '@rollcall/client/react'

export const WhoIsOnline = () => (
  <OnlineUsers>
    {({ name, status }) => <p>{name} is {status}</p>}
  </OnlineUsers>
)
