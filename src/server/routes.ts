/**
 * The paths that Rollcall serves: all of them lie below BASE_PATH.
 *
 * A server with other handlers asks this before it passes on a request.
 */
import type { Config } from '../config.ts'
import type { Pages } from './pages.ts'

export const GRAPHQL = '/graphql'

export interface Routes {
  /** The whole path of the API, as a client requests it. */
  readonly graphqlPath: string
  /**
   * @returns the path below BASE_PATH: `/graphql`, or an empty text for BASE_PATH itself; null if it is not below
   *   BASE_PATH
   */
  below(pathname: string): string | null
  /** Whether Rollcall serves the request. Works before the server is ready, too. */
  has(method: string, pathname: string): boolean
}

export function createRoutes(
  { BASE_PATH, METRICS_TOKEN, NODE_ENV }: Pick<Config, 'BASE_PATH' | 'METRICS_TOKEN' | 'NODE_ENV'>,
  pages: Pick<Pages, 'has'>,
): Routes {
  const endpoints = new Set(['/healthz', '/readyz'])
  if (METRICS_TOKEN !== null || NODE_ENV !== 'production') endpoints.add('/metrics')

  function below(pathname: string): string | null {
    if (!pathname.startsWith(BASE_PATH)) return null
    const rest = pathname.slice(BASE_PATH.length)
    return rest === '' || rest.startsWith('/') ? rest : null
  }

  return {
    graphqlPath: `${BASE_PATH}${GRAPHQL}`,
    below,

    has(method, pathname) {
      const path = below(pathname)
      if (path === null) return false
      if (path === GRAPHQL) return true
      return (method === 'GET' || method === 'HEAD') && (endpoints.has(path) || pages.has(path === '' ? '/' : path))
    },
  }
}
