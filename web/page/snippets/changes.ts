import { createPresence } from '@rollcall/client'

const presence = createPresence({ url: '/graphql', token: 'dev:alice' })
const online = presence.onlineUsers()
online.subscribe(() => console.log(online.getSnapshot().users))
