/**
 * GraphQL subscriptions in which one execution serves every subscriber of the same event and the same selection.
 *
 * An event that is shared is the same object for all of them; a selection is the document, the operation's name and
 * the variables that the payload depends on. Whatever else a subscriber asked (room, ids, position) only chose the
 * events.
 */
import {
  createSourceEventStream,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  Kind,
  print,
  visit,
} from 'graphql'

type Results = Map<string, ReturnType<typeof execute>>

export interface SharedExecutionOptions {
  /** Whether the payload of this event is the same whoever asks. */
  readonly isShared: (event: object) => boolean
  /** The context of an execution that serves many: it knows no caller. */
  readonly sharedContext: object
}

export function createSharedSubscribe({ isShared, sharedContext }: SharedExecutionOptions) {
  const resultsByEvent = new WeakMap<object, Results>()

  function executeOnce(args: ExecutionArgs, selection: string, event: object): ReturnType<typeof execute> {
    let results = resultsByEvent.get(event)
    if (results === undefined) {
      results = new Map()
      resultsByEvent.set(event, results)
    }
    let result = results.get(selection)
    if (result === undefined) {
      result = execute({ ...args, rootValue: event, contextValue: sharedContext })
      results.set(selection, result)
    }
    return result
  }

  return async function subscribe(
    args: ExecutionArgs,
  ): Promise<AsyncGenerator<ExecutionResult, void, void> | ExecutionResult> {
    const source = await createSourceEventStream(args)
    if (!isAsyncIterable(source)) return source
    const selection = selectionOf(args)
    const events = source[Symbol.asyncIterator]()

    const results: AsyncGenerator<ExecutionResult, void, void> = {
      async next() {
        const event = await events.next()
        if (event.done) return { value: undefined, done: true }
        const value = event.value
        const isForMany = typeof value === 'object' && value !== null && isShared(value)
        const result = isForMany ? executeOnce(args, selection, value) : execute({ ...args, rootValue: value })
        return { value: await result, done: false }
      },
      async return() {
        await events.return?.()
        return { value: undefined, done: true }
      },
      async throw(error) {
        await events.return?.()
        throw error
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
    return results
  }
}

const payloadVariables = new WeakMap<DocumentNode, readonly string[]>()

/** What two subscribers must have in common to share an execution. */
export function selectionOf({ document, operationName, variableValues }: ExecutionArgs): string {
  let names = payloadVariables.get(document)
  if (names === undefined) {
    names = variablesOfPayload(document)
    payloadVariables.set(document, names)
  }
  // A variable that was left out has its default, which differs from null.
  const values = names.map((name) =>
    variableValues && Object.hasOwn(variableValues, name) ? [variableValues[name]] : [],
  )
  return JSON.stringify([document.loc?.source.body ?? print(document), operationName ?? null, values])
}

/** Variables that stand anywhere but in the arguments of the subscription's own field. */
function variablesOfPayload(document: DocumentNode): readonly string[] {
  const rootFields = new Set<unknown>(
    document.definitions.flatMap((definition) =>
      definition.kind === Kind.OPERATION_DEFINITION ? definition.selectionSet.selections : [],
    ),
  )
  const names = new Set<string>()
  const payload = visit(document, {
    VariableDefinition: () => null,
    Field: (node) => (rootFields.has(node) ? { ...node, arguments: [] } : undefined),
  })
  visit(payload, { Variable: (node) => void names.add(node.name.value) })
  return [...names].sort()
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
