/** The demo page: who you are, who is online, and what happened. */
import { type Freshness, followOnlineList, type ListChange } from './online-list.ts'
import type { OnlineUser, OwnViewer } from './operations.ts'
import { type Connection, createOwnPresence } from './own-presence.ts'
import { createPeople, initial } from './people.ts'
import { isToken, newTabMemory, recall, remember, type TabMemory, tokenOf } from './tab-memory.ts'
import { changeWords, freshnessWords, moment, ownState } from './words.ts'

const MAX_LOG_ENTRIES = 8
/** Changes come in bursts, and a page is looked at: so often is enough. */
const DRAW_INTERVAL_MS = 100
/** What counts as the person's doing. */
const ACTIVITY_EVENTS = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart', 'focus'] as const

const signIn = find('sign-in', HTMLFormElement)
const identityField = find('identity', HTMLInputElement)
const roomField = find('room', HTMLInputElement)
const signedIn = find('signed-in', HTMLElement)
const ownHeading = find('you-heading', HTMLElement)
const ownMark = find('own-mark', HTMLElement)
const ownName = find('own-name', HTMLElement)
const ownStateText = find('own-state', HTMLElement)
const statusForm = find('status-form', HTMLFormElement)
const ownControls = find('own-controls', HTMLFieldSetElement)
const messageField = find('message', HTMLInputElement)
const visibilityButton = find('visibility', HTMLButtonElement)
const presenceButton = find('presence', HTMLButtonElement)
const signOutButton = find('sign-out', HTMLButtonElement)
const problem = find('problem', HTMLElement)
const listTitle = find('list-title', HTMLElement)
const listCount = find('list-count', HTMLElement)
const freshnessText = find('freshness', HTMLElement)
const log = find('log', HTMLOListElement)
const logEmpty = find('log-empty', HTMLElement)
const otherTab = find('other-tab', HTMLAnchorElement)
const people = createPeople(find('list', HTMLUListElement), find('list-note', HTMLElement))

/** Everything of one sign-in; null while nobody is signed in. */
let current: SignedIn | null = null
let lostFocus: HTMLElement | null = null

interface SignedIn {
  /** The person did something, or looks at the page. */
  noticed(): void
  /** The page goes, perhaps into the back/forward cache. */
  pause(): void
  resume(): void
}

function open(memory: TabMemory): void {
  let hasLeft = memory.hasLeft
  let connection: Connection = { kind: 'connecting' }
  let viewer: OwnViewer | null = null
  let users: ReadonlyMap<string, OnlineUser> = new Map()
  let freshness: Freshness = { kind: 'reading' }
  let drawing: ReturnType<typeof setTimeout> | null = null

  signIn.hidden = true
  signedIn.hidden = false
  log.replaceChildren()
  logEmpty.hidden = false
  listTitle.textContent = memory.room === null ? 'Online now' : `In ${memory.room}`
  const other = memory.identity === 'bob' ? 'alice' : 'bob'
  otherTab.textContent = `Open a tab as ${other}.`
  otherTab.href = `./?${new URLSearchParams({ user: other, ...(memory.room === null ? {} : { room: memory.room }) })}`
  const isRemembered = remember(memory)

  function draw(): void {
    drawing ??= setTimeout(() => {
      drawing = null
      drawOwn()
      drawList()
    }, DRAW_INTERVAL_MS)
  }

  /** Written, and not sent yet. */
  let isMessageUnsent = false

  function drawOwn(): void {
    const name = viewer?.user.name ?? (isToken(memory.identity) ? 'You' : memory.identity)
    ownName.textContent = name
    ownMark.textContent = initial(name)
    const isShown = connection.kind === 'open' && !hasLeft && viewer?.visibility === 'EVERYONE'
    ownMark.dataset.status = isShown ? viewer?.status : 'OFFLINE'
    const isComing = !isVisible() || own.activity.isPending()
    setText(ownStateText, ownState(viewer, connection, { hasLeft, isComing }))
    setEnabled(connection.kind === 'open' && viewer !== null)
    signOutButton.textContent = connection.kind === 'refused' ? 'Sign in again' : 'Sign out'
    presenceButton.textContent = hasLeft ? 'Come back' : 'Go offline'
    if (viewer === null) return
    visibilityButton.textContent = viewer.visibility === 'NOBODY' ? 'Show me again' : 'Hide me'
    for (const choice of choices()) choice.checked = choice.value === viewer.statusChoice
    // What the person has written stays until it is sent: a click on the button takes the focus before it sends.
    const isAtRest = document.activeElement !== messageField && lostFocus !== messageField
    if (isAtRest && !isMessageUnsent) messageField.value = viewer.statusMessage ?? ''
  }

  function drawList(): void {
    people.show(users, viewer?.user.id ?? null)
    const isKnown = users.size > 0 || freshness.kind === 'live'
    listCount.textContent = isKnown ? users.size.toLocaleString() : ''
    freshnessText.dataset.kind = freshness.kind
    setText(freshnessText, freshnessWords(freshness, connection))
  }

  function tell(change: ListChange): void {
    logEmpty.hidden = true
    const entry = document.createElement('li')
    const time = document.createElement('time')
    time.dateTime = change.at
    time.textContent = moment(change.at)
    const words = document.createElement('span')
    words.textContent = changeWords(change, memory.room)
    entry.append(time, words)
    log.prepend(entry)
    while (log.children.length > MAX_LOG_ENTRIES) log.lastElementChild?.remove()
  }

  const own = createOwnPresence({
    url: new URL('graphql', location.href).href.replace(/^http/, 'ws'),
    token: tokenOf(memory),
    sessionId: memory.sessionId,
    device: 'Demo page',
    room: memory.room,
    hasLeft,
    isVisible,
    onConnection(next) {
      connection = next
      draw()
    },
    onViewer(next) {
      viewer = next
      draw()
    },
    onLeft(next) {
      hasLeft = next
      remember({ ...memory, hasLeft })
      draw()
    },
  })
  const list = followOnlineList({
    client: own.client,
    room: memory.room,
    onUpdate(nextUsers, nextFreshness) {
      users = nextUsers
      freshness = nextFreshness
      draw()
    },
    onChange: tell,
  })

  /** Does what a control asks for, and says why where it cannot be done. */
  async function act(action: () => Promise<void>): Promise<void> {
    problem.hidden = true
    noticed()
    try {
      await action()
    } catch (error) {
      problem.textContent = error instanceof Error ? error.message : String(error)
      problem.hidden = false
    }
  }

  function chosen(): OwnViewer['statusChoice'] {
    const value = choices().find(({ checked }) => checked)?.value
    return value === 'AWAY' || value === 'BUSY' ? value : 'AUTOMATIC'
  }

  function choose(): void {
    const message = messageField.value.trim()
    void act(async () => {
      await own.chooseStatus(chosen(), message === '' ? null : message)
      // What was written while it was sent is another one.
      if (messageField.value.trim() === message) isMessageUnsent = false
      drawOwn()
    })
  }

  messageField.oninput = () => {
    isMessageUnsent = true
  }

  statusForm.onchange = (event) => {
    if (event.target !== messageField) choose()
  }
  statusForm.onsubmit = (event) => {
    event.preventDefault()
    messageField.blur()
    choose()
  }
  visibilityButton.onclick = () =>
    void act(() => own.chooseVisibility(viewer?.visibility === 'NOBODY' ? 'EVERYONE' : 'NOBODY'))
  presenceButton.onclick = () => void act(() => (hasLeft ? own.comeBack() : own.leave()))
  signOutButton.onclick = async () => {
    remember(null)
    // Where the server does not answer, the session ends by itself.
    if (!hasLeft && connection.kind === 'open') await own.leave().catch(() => {})
    shut()
    remember(null)
    history.replaceState(null, '', location.pathname)
    ask()
  }

  function shut(): void {
    if (drawing !== null) clearTimeout(drawing)
    list.stop()
    own.close()
    current = null
  }

  function noticed(): void {
    const wasPending = own.activity.isPending()
    own.activity.noticed()
    // Before the next frame: "nothing happened here" is not for who looks at it.
    if (!wasPending) drawOwn()
  }

  current = {
    noticed,
    pause: own.pause,
    resume() {
      // Another page of this tab may have been somebody else meanwhile.
      remember({ ...memory, hasLeft })
      own.resume()
    },
  }
  drawOwn()
  drawList()
  if (isVisible()) noticed()
  // Where nothing is remembered, the address is.
  if (isRemembered) history.replaceState(null, '', location.pathname)
}

/** A control that is disabled loses its focus: it gets it back when the connection is. */
function setEnabled(isEnabled: boolean): void {
  const { activeElement } = document
  if (!isEnabled && activeElement instanceof HTMLElement && ownControls.contains(activeElement))
    lostFocus = activeElement
  ownControls.disabled = !isEnabled
  if (!isEnabled || lostFocus === null) return
  if (document.activeElement === document.body) lostFocus.focus()
  lostFocus = null
}

function isVisible(): boolean {
  return document.visibilityState === 'visible'
}

/** Shows the form that asks who it is. */
function ask(): void {
  signedIn.hidden = true
  signIn.hidden = false
  identityField.focus()
}

function choices(): HTMLInputElement[] {
  return [...statusForm.querySelectorAll<HTMLInputElement>('input[name=choice]')]
}

/** Screen readers read a live region whenever it is written to, the same words too. */
function setText(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

function find<Element extends HTMLElement>(id: string, type: new () => Element): Element {
  const element = document.getElementById(id)
  if (!(element instanceof type)) throw new Error(`The page has no ${id}.`)
  return element
}

for (const name of ACTIVITY_EVENTS) {
  addEventListener(name, () => current?.noticed(), { passive: true, capture: true })
}
document.addEventListener('visibilitychange', () => {
  if (isVisible()) current?.noticed()
})
// Chromium keeps the socket of a page in its back/forward cache, and answers for it (docs/browsers.md).
addEventListener('pagehide', () => current?.pause())
addEventListener('pageshow', ({ persisted }) => {
  if (!persisted) return
  current?.resume()
  current?.noticed()
})

signIn.onsubmit = (event) => {
  event.preventDefault()
  const identity = identityField.value.trim()
  if (identity === '') return
  open(newTabMemory(identity, roomField.value.trim()))
  // The field that had the focus is gone.
  ownHeading.focus()
}

/** `?user=alice&room=lobby` signs in at once; where the tab remembers it, the address is plain again. */
function asked(): TabMemory | null {
  const params = new URLSearchParams(location.search)
  const user = params.get('user')
  return user === null || user === '' ? null : newTabMemory(user, params.get('room') ?? '')
}

const memory = asked() ?? recall()
if (memory === null) ask()
else open(memory)
