/** Listeners of a port: put in, and out again by the function that comes back. */
export function listenIn<Listener>(listeners: Set<Listener>, listener: Listener): () => void {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}
