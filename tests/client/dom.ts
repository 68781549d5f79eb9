/**
 * A page for tests of components, by jsdom, in the globals that React asks for. The others stay Node's: a server of the
 * same process needs its own `URL`.
 *
 * There is one page for all files of a process, because React's Testing Library keeps the first that it sees. Import it
 * before that, install it before all tests of a file, and remove it after them: other files have no page.
 */
import { JSDOM } from 'jsdom'

const { window } = new JSDOM('', { url: 'http://localhost/', pretendToBeVisual: true })
const NAMES = [
  'window',
  'document',
  'navigator',
  'sessionStorage',
  'HTMLElement',
  'HTMLIFrameElement',
  'Node',
  'location',
]
const before = new Map(NAMES.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]))

export function installPage(): void {
  for (const name of NAMES) {
    Object.defineProperty(globalThis, name, { value: Reflect.get(window, name), configurable: true, writable: true })
  }
}

export function removePage(): void {
  for (const [name, descriptor] of before) {
    if (descriptor) Object.defineProperty(globalThis, name, descriptor)
    else Reflect.deleteProperty(globalThis, name)
  }
}

installPage()
