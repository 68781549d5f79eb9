// Before React, which looks for a page when it is loaded.
import './dom.ts'

import { cleanup, render, renderHook, screen } from '@testing-library/react'
import { type ReactElement, type ReactNode, StrictMode, Suspense } from 'react'
import { renderToString } from 'react-dom/server'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { createPresence } from '../../client/src/index.ts'
import {
  OnlineUsers,
  PresenceProvider,
  useLink,
  useMyPresence,
  useOnlineCount,
  useOnlineUsers,
  usePresence,
  useRoom,
  useUser,
  useUsers,
} from '../../client/src/react/index.ts'
import { closeTabs, onlineIds, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { installPage, removePage } from './dom.ts'
import { closeAll, presenceOf } from './kit.ts'

describe("React's binding", () => {
  let server: TestServer
  beforeAll(async () => {
    installPage()
    server = await startServer({ SESSION_TTL: '60s' })
  })
  afterEach(() => {
    cleanup()
    closeAll()
    closeTabs()
  })
  afterAll(async () => {
    await server.stop()
    removePage()
  })

  /** As an app has it: in strict mode, signed in as this user. */
  function appOf(userId: string) {
    return function App({ children }: { readonly children: ReactNode }): ReactElement {
      return (
        <StrictMode>
          <PresenceProvider url={`${server.url}/graphql`} token={() => `dev:${userId}`} webSocketImpl={WebSocket}>
            {children}
          </PresenceProvider>
        </StrictMode>
      )
    }
  }

  it('is one session in strict mode, and none after it is unmounted', async () => {
    const app = render(<p>here</p>, { wrapper: appOf('alice') })
    await until(async () => (await onlineIds(server, 'dev:reader')).includes('alice'))
    const { data } = await post(server, 'dev:alice', '{ viewer { sessions { id } } }')
    expect(data?.viewer.sessions).toHaveLength(1)
    app.unmount()
    await until(async () => !(await onlineIds(server, 'dev:reader')).includes('alice'))
  })

  it('renders the row of who changes, and not the list', async () => {
    const renders = { list: 0, rows: new Map<string, number>() }
    function Row({ id }: { readonly id: string }): ReactElement {
      const { user } = useUser(id)
      renders.rows.set(id, (renders.rows.get(id) ?? 0) + 1)
      return <li>{`${user?.name} ${user?.status}`}</li>
    }
    function List(): ReactElement {
      const { ids, state } = useOnlineUsers()
      renders.list += 1
      return (
        <ul aria-label={state}>
          {ids.map((id) => (
            <Row key={id} id={id} />
          ))}
        </ul>
      )
    }
    await openTab(server, 'bea')
    await openTab(server, 'bob')
    const presence = presenceOf(server, 'ben')
    render(
      <PresenceProvider presence={presence}>
        <List />
      </PresenceProvider>,
    )
    await until(() => screen.queryByLabelText('live') && screen.queryByText('bob ONLINE'))
    await until(() => presence.user('bob').getSnapshot().state === 'live')
    const before = { list: renders.list, bea: renders.rows.get('bea'), bob: renders.rows.get('bob') }
    await post(server, 'dev:bob', 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    await until(() => screen.queryByText('bob BUSY'))
    expect(renders.list).toBe(before.list)
    expect(renders.rows.get('bea')).toBe(before.bea)
    expect(renders.rows.get('bob')).toBe(Number(before.bob) + 1)
  })

  it('renders a list that reads users when one of them changes', async () => {
    await openTab(server, 'cleo')
    const presence = presenceOf(server, 'carl')
    const { result } = renderHook(() => useOnlineUsers().users, {
      wrapper: ({ children }) => <PresenceProvider presence={presence}>{children}</PresenceProvider>,
    })
    await until(() => result.current.some(({ id }) => id === 'cleo'))
    await post(server, 'dev:cleo', 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    await until(() => result.current.find(({ id }) => id === 'cleo')?.status === 'BUSY')
  })

  it('renders nobody again but who comes, by its own list', async () => {
    const renders = new Map<string, number>()
    const presence = presenceOf(server, 'dan')
    await openTab(server, 'dora')
    render(
      <PresenceProvider presence={presence}>
        <OnlineUsers>
          {({ id }) => {
            renders.set(id, (renders.get(id) ?? 0) + 1)
            return <p>{id}</p>
          }}
        </OnlineUsers>
      </PresenceProvider>,
    )
    await until(() => screen.queryByText('dora') && presence.onlineUsers().getSnapshot().state === 'live')
    const before = renders.get('dora')
    await openTab(server, 'dirk')
    await until(() => screen.queryByText('dirk'))
    expect(renders.get('dora')).toBe(before)
  })

  it('is in a room while a component is mounted, and counts', async () => {
    function Room(): ReactElement {
      const { ids } = useRoom('den')
      return <p>{`in the room: ${ids.join()}`}</p>
    }
    function Count(): ReactElement {
      return <p>{`count: ${useOnlineCount({ room: 'den' }).count}`}</p>
    }
    const App = appOf('emil')
    const app = render(
      <App>
        <Room />
        <Count />
      </App>,
    )
    await until(() => screen.queryByText('in the room: emil') && screen.queryByText('count: 1'))
    app.rerender(
      <App>
        <Count />
      </App>,
    )
    await until(() => screen.queryByText('count: 0'))
  })

  it('knows the signed-in user, and appears offline', async () => {
    const { result } = renderHook(() => ({ me: useMyPresence(), link: useLink() }), { wrapper: appOf('fee') })
    await until(() => result.current.me.viewer?.user.isOnline)
    expect(result.current.link.state).toBe('open')
    await result.current.me.setVisibility('NOBODY')
    await until(() => result.current.me.viewer?.user.isOnline === false)
    expect(result.current.me.viewer?.isOnline).toBe(true)
  })

  it('takes a new list of ids for the same one where it names the same users', async () => {
    await openTab(server, 'gabi')
    const { result } = renderHook(() => useUsers(['gabi', 'nobody-yet']), { wrapper: appOf('gert') })
    await until(() => result.current.state === 'live')
    expect(result.current.users.map((user) => user?.id ?? null)).toEqual(['gabi', null])
  })

  it('suspends where it is asked to', async () => {
    function Count(): ReactElement {
      const { count } = useOnlineCount({ suspense: true })
      return <p>{`count: ${count}`}</p>
    }
    const App = appOf('hugo')
    render(
      <App>
        <Suspense fallback={<p>waiting</p>}>
          <Count />
        </Suspense>
      </App>,
    )
    expect(screen.queryByText('waiting')).not.toBeNull()
    await until(() => screen.queryByText(/^count: \d+$/))
  })

  it('renders on a server as loading, and connects nowhere', () => {
    function List(): ReactElement {
      const { state, ids } = useOnlineUsers({ suspense: false })
      return <p>{`${state} ${ids.length} ${useUser('ina').state} ${useMyPresence().state} ${useLink().state}`}</p>
    }
    const App = appOf('ina')
    const html = renderToString(
      <App>
        <List />
      </App>,
    )
    expect(html).toContain('loading 0 loading loading idle')
  })

  it('renders on a server that does not know the address of the page', () => {
    const location = Object.getOwnPropertyDescriptor(globalThis, 'location') as PropertyDescriptor
    Reflect.deleteProperty(globalThis, 'location')
    try {
      const html = renderToString(
        <PresenceProvider url="/graphql" token="dev:ina">
          <p>here</p>
        </PresenceProvider>,
      )
      expect(html).toContain('here')
    } finally {
      Object.defineProperty(globalThis, 'location', location)
    }
    expect(() => createPresence({ url: 'http://', token: 'dev:ina' })).toThrow('url must be an address')
  })

  it('says what is missing where there is no provider', () => {
    expect(() => renderToString(<Lonely />)).toThrow('There is no <PresenceProvider> around this component.')
  })
})

function Lonely(): ReactElement {
  usePresence()
  return <p />
}
