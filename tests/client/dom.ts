/**
 * A page for tests of components, by jsdom, in the globals that React asks for. The others stay Node's: a server of the
 * same process needs its own `URL`. Import it before React.
 */
import { JSDOM } from 'jsdom'

const { window } = new JSDOM('', { url: 'http://localhost/', pretendToBeVisual: true })
const names = [
  'window',
  'document',
  'navigator',
  'sessionStorage',
  'HTMLElement',
  'HTMLIFrameElement',
  'Node',
  'location',
]
const before = new Map(names.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]))
for (const name of names) {
  Object.defineProperty(globalThis, name, { value: Reflect.get(window, name), configurable: true, writable: true })
}

/** For afterAll: other tests of this process have no page. */
export function removePage(): void {
  for (const [name, descriptor] of before) {
    if (descriptor) Object.defineProperty(globalThis, name, descriptor)
    else Reflect.deleteProperty(globalThis, name)
  }
  window.close()
}
