/** What the page that the client runs in goes through. Outside a browser nothing of it happens. */

export interface PageEvents {
  /** The person did something, or looks at the page. */
  readonly onActivity: () => void
  /** The page or the machine may have slept. `isNetworkNew`: the browser says that it is online again. */
  readonly onWake: (isNetworkNew: boolean) => void
  /** The page goes, for ever or into the back/forward cache, where it keeps nobody online. */
  readonly onHide: () => void
  /** The page comes out of the back/forward cache. */
  readonly onShow: () => void
}

const ACTIVITY = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart'] as const

export function isVisible(): boolean {
  return typeof document === 'undefined' || document.visibilityState === 'visible'
}

export function isOffline(): boolean {
  return typeof navigator !== 'undefined' && navigator.onLine === false
}

/** @returns a function that ends it */
export function followPage({ onActivity, onWake, onHide, onShow }: PageEvents): () => void {
  if (typeof document === 'undefined') return () => {}
  const stops: (() => void)[] = []
  // An AbortSignal would end them all, but jsdom takes none of another realm, and apps test their components in it.
  function on(target: EventTarget, name: string, listener: (event: Event) => void): void {
    const options = { passive: true, capture: true }
    target.addEventListener(name, listener, options)
    stops.push(() => target.removeEventListener(name, listener, options))
  }
  const look = (): void => {
    if (!isVisible()) return
    onActivity()
    onWake(false)
  }
  for (const name of ACTIVITY) on(window, name, onActivity)
  on(window, 'focus', look)
  on(document, 'visibilitychange', look)
  // Chromium's, after a page was frozen.
  on(document, 'resume', () => onWake(false))
  on(window, 'online', () => onWake(true))
  on(window, 'pagehide', onHide)
  on(window, 'pageshow', (event) => (event as PageTransitionEvent).persisted && onShow())
  return () => {
    for (const stop of stops) stop()
  }
}

/**
 * Firefox keeps the connection of a handshake that was given up, and after six of them makes no WebSocket to that address
 * any more (findings/firefox-keeps-a-handshake-that-was-given-up.sh). It also waits between two WebSockets to an address,
 * longer after each that failed and at last for a minute, as RFC 6455 wishes. So there the network is asked over HTTP, and
 * a WebSocket is made when something answers.
 */
export function needsProbe(): boolean {
  return typeof navigator !== 'undefined' && / Firefox\//.test(navigator.userAgent)
}

/** Longer than the link waits for it (HANDSHAKE_LIMIT_MS): silence is not the same as a network that refuses. */
const PROBE_LIMIT_MS = 4000

/** @returns whether anything answers, whatever it says */
export function isAnswered(url: string): Promise<boolean> {
  const signal = AbortSignal.timeout(PROBE_LIMIT_MS)
  return fetch(url, { method: 'HEAD', mode: 'no-cors', cache: 'no-store', signal }).then(
    () => true,
    () => false,
  )
}
