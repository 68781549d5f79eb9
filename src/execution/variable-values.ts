import type { ExecutionArgs } from 'graphql'

/** The values of these variables. An omitted variable has its default, which differs from null: it is omitted here too. */
export function valuesOf(
  names: readonly string[],
  variableValues: ExecutionArgs['variableValues'],
): [name: string, value: unknown][] {
  return names
    .filter((name) => variableValues && Object.hasOwn(variableValues, name))
    .map((name) => [name, variableValues?.[name]])
}
