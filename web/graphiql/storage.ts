/** Where GraphiQL keeps its tabs: the browser's storage, and where that is blocked the page itself. */
import type { GraphiQLProps } from 'graphiql'

type GraphiQLStorage = NonNullable<GraphiQLProps['storage']>

/** What GraphiQL has to be told: nothing where its own choice works. */
export function storageProps(): { readonly storage?: GraphiQLStorage } {
  try {
    // Blocked, it throws or is null.
    localStorage.getItem('graphiql')
    return {}
  } catch {
    return { storage: createPageStorage() }
  }
}

function createPageStorage(): GraphiQLStorage {
  const items = new Map<string, string>()
  return {
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
    clear: () => items.clear(),
    get length() {
      return items.size
    },
  }
}
