/** The script of the SharedWorker by which the tabs of a browser share a socket: `sharedSocket` has the tab's part. */
import type { Socket } from '../connection.ts'
import { Tabs } from './tabs.ts'

/** What is used of `SharedWorkerGlobalScope`. */
interface SharedWorkerScope {
  onconnect: ((event: MessageEvent) => void) | null
  addEventListener(name: 'online', listener: () => void): void
}

const scope = globalThis as unknown as SharedWorkerScope
const tabs = new Tabs((url, protocol) => new WebSocket(url, protocol) as Socket)
scope.onconnect = ({ ports: [port] }) => port && tabs.connect(port)
scope.addEventListener('online', () => tabs.wake())
