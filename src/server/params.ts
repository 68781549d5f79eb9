/** Parses the parameters of a request: the same bounds for HTTP and sockets. */
import { badInput, badRequest } from '../presence/errors.ts'

/**
 * The deepest argument of the schema is a list of texts, two levels with the variables object. The rest is for what
 * apps put into `extensions`. Coercion and `JSON.stringify` recurse, and a text of 64 KiB holds 32,000 levels.
 */
export const MAX_NESTING = 16

export interface Params {
  readonly query?: unknown
  readonly operationName?: unknown
  readonly variables?: unknown
  readonly extensions?: unknown
}

/** @throws PresenceError `BAD_REQUEST` if it is no JSON object, `BAD_USER_INPUT` if a part is nested too deeply */
export function paramsOfBody(body: string): Params {
  const params = parseJson('body', body)
  requireParams(params)
  return withoutEmptyName(params)
}

/** @throws as `paramsOfBody` */
export function requireParams(params: unknown): asserts params is Params {
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw badRequest('body must be a JSON object.')
  }
  const { operationName } = params as Params
  // Yoga checks the form of the others.
  if (typeof (operationName ?? '') !== 'string') throw badRequest('operationName must be a text.')
  requireShallow(params)
}

/** Many clients send the empty text where they name no operation: no operation has it for a name. */
export function withoutEmptyName<Named extends { readonly operationName?: unknown }>(params: Named): Named {
  return params.operationName === '' ? { ...params, operationName: null } : params
}

/** The same for the query string of a GET. */
export function paramsOfQuery(search: URLSearchParams): Params {
  const params: Record<string, unknown> = {}
  for (const name of ['query', 'operationName']) {
    const text = search.get(name)
    if (text !== null) params[name] = text
  }
  for (const name of ['variables', 'extensions']) {
    const text = search.get(name)
    if (text) params[name] = parseJson(name, text)
  }
  requireShallow(params)
  return withoutEmptyName(params)
}

/** @throws PresenceError `BAD_USER_INPUT` that names the part that is nested too deeply */
export function requireShallow(params: Params): void {
  for (const name of Object.keys(params) as (keyof Params)[]) {
    if (!isShallow(params[name])) throw badInput(name, `at most ${MAX_NESTING} levels deep`)
  }
}

/** @param levels - how deep lists and objects may be nested */
export function isShallow(value: unknown, levels: number = MAX_NESTING): boolean {
  if (typeof value !== 'object' || value === null) return true
  return levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1))
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}

function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw badRequest(`${name} must be JSON.`)
  }
}
