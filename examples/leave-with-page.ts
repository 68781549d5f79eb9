/**
 * Closes a graphql-ws socket when its page goes, and opens it again when the page comes back.
 *
 * Browsers keep a page that was left, to show it at once when the person goes back. Chromium keeps its socket open too,
 * and so the person would stay online for half a minute: docs/browsers.md has what each browser does.
 *
 * @returns for the options of `createClient`: `url`, and `on.opened`
 */
export function leaveWithPage(url: string): { url: () => Promise<string>; opened: (socket: unknown) => void } {
  let socket: { close(code: number): void } | undefined
  let shown = Promise.resolve()
  let show: (() => void) | undefined
  // Outside a browser there is no page to follow.
  const page = globalThis as { addEventListener?: (event: string, listener: () => void) => void }
  page.addEventListener?.('pagehide', () => {
    shown = new Promise((resolve) => {
      show = resolve
    })
    // The person's own wish: 1000. After it graphql-ws connects again without a wait, as soon as it has the address.
    socket?.close(1000)
  })
  page.addEventListener?.('pageshow', () => {
    show?.()
    show = undefined
  })
  return {
    url: () => shown.then(() => url),
    opened: (opened) => {
      socket = opened as typeof socket
      // It was on its way when the page was left.
      if (show !== undefined) socket?.close(1000)
    },
  }
}
