/**
 * GraphQL subscriptions in which one execution, and one writing as JSON, serves every subscriber of the same event and
 * the same selection.
 *
 * An event that is shared is the same object for all of them; a selection is the document, the operation's name and
 * the variables that the payload depends on. Whatever else a subscriber asked (room, ids, position) only chose the
 * events. What may not be shared (src/fanout/shareable.ts) is executed for its subscriber alone.
 */
import {
  createSourceEventStream,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  execute,
  Kind,
  visit,
} from 'graphql'
import type { ChangeEvent, ChangeStream } from '../presence/feed.ts'

/** Where payloads go as JSON, in the moment when they come about. */
export interface PayloadOutlet {
  isFull(): boolean
  write(payload: string): void
  onceDrained(resume: () => void): void
}

type Results = AsyncGenerator<ExecutionResult, void, void>

/**
 * @param outlet - where given, payloads that are shared go there, and the generator brings none of them: only the rest,
 *   and the end
 */
export type Subscribe = (args: ExecutionArgs, outlet: PayloadOutlet | null) => Promise<Results | ExecutionResult>

export interface SelectionsOptions {
  /** Whether its payloads are the same whoever asks. */
  readonly isShareable: (args: Pick<ExecutionArgs, 'document' | 'operationName'>) => boolean
  /** A result as its outlets take it: as JSON. */
  readonly write: (result: ExecutionResult) => string
}

/** A selection that somebody is subscribed with. */
interface Selection {
  readonly resultOf: (event: object) => ExecutionResult
  readonly payloadOf: (event: object) => string
}

/** What is shared must not know who asks: a field that looks at its context fails, for all and at once. */
const NO_CALLER = new Proxy(
  {},
  {
    get(_target, name) {
      throw new Error(`A field that is shared asked for ${String(name)} of its caller.`)
    },
  },
)

export function createSelections({ isShareable, write }: SelectionsOptions): Subscribe {
  /** By the document, which whoever parsed it keeps for all who send the same text. */
  const selections = new WeakMap<DocumentNode, Map<string, { selection: Selection; userCount: number }>>()

  function acquire(args: ExecutionArgs): { selection: Selection; release: () => void } {
    let ofDocument = selections.get(args.document)
    if (ofDocument === undefined) {
      ofDocument = new Map()
      selections.set(args.document, ofDocument)
    }
    const key = keyOf(args)
    const known = ofDocument.get(key) ?? { selection: createSelection(args, write), userCount: 0 }
    known.userCount += 1
    ofDocument.set(key, known)
    return {
      selection: known.selection,
      release() {
        known.userCount -= 1
        if (known.userCount === 0) ofDocument.delete(key)
      },
    }
  }

  return async function subscribe(args, outlet) {
    const source = await createSourceEventStream(args)
    if (!isAsyncIterable(source)) return source
    const events = source[Symbol.asyncIterator]()
    if (!isShareable(args)) {
      return resultsOf(
        () => events.next(),
        async (event) => await execute({ ...args, rootValue: event }),
        () => events.return?.(),
      )
    }
    const { selection, release } = acquire(args)
    let isReleased = false
    async function end(): Promise<void> {
      if (!isReleased) release()
      isReleased = true
      await events.return?.()
    }
    if (outlet === null || !flows(source)) {
      return resultsOf(
        () => events.next(),
        async (event) => selection.resultOf(event as object),
        end,
      )
    }
    const { isFull, onceDrained } = outlet
    const stream = source
    return resultsOf(
      async () => {
        const write = (event: ChangeEvent) => outlet.write(selection.payloadOf(event))
        await stream.flowInto({ isFull, onceDrained, write })
        return { value: undefined, done: true }
      },
      () => Promise.reject(new Error('What flows is not read.')),
      end,
    )
  }
}

function createSelection(
  { schema, document, operationName, variableValues }: ExecutionArgs,
  write: SelectionsOptions['write'],
): Selection {
  // Neither the caller nor anything else of the first subscriber is kept.
  const args = { schema, document, operationName, variableValues, contextValue: NO_CALLER }
  const results = new WeakMap<object, ExecutionResult>()
  const payloads = new WeakMap<object, string>()
  // An event goes to all whom it concerns before the next one comes.
  let lastEvent: object | null = null
  let lastPayload = ''

  function resultOf(event: object): ExecutionResult {
    let result = results.get(event)
    if (result === undefined) {
      const executed = execute({ ...args, rootValue: event })
      if ('then' in executed) throw new Error('A field that is shared has to answer at once.')
      result = executed
      results.set(event, result)
    }
    return result
  }

  function payloadOf(event: object): string {
    if (event === lastEvent) return lastPayload
    let payload = payloads.get(event)
    if (payload === undefined) {
      payload = write(resultOf(event))
      payloads.set(event, payload)
    }
    lastEvent = event
    lastPayload = payload
    return payload
  }

  return { resultOf, payloadOf }
}

/** What two subscribers to the same document must have in common to share. */
function keyOf({ document, operationName, variableValues }: ExecutionArgs): string {
  let names = payloadVariables.get(document)
  if (names === undefined) {
    names = variablesOfPayload(document)
    payloadVariables.set(document, names)
  }
  // A variable that was left out has its default, which differs from null.
  const values = names.map((name) =>
    variableValues && Object.hasOwn(variableValues, name) ? [variableValues[name]] : [],
  )
  return JSON.stringify([operationName ?? null, values])
}

const payloadVariables = new WeakMap<DocumentNode, readonly string[]>()

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

function resultsOf(
  next: () => Promise<IteratorResult<unknown>>,
  execute: (event: unknown) => Promise<ExecutionResult>,
  end: () => unknown,
): Results {
  const results: Results = {
    async next() {
      const { value, done } = await next()
      return done ? { value: undefined, done: true } : { value: await execute(value), done: false }
    },
    async return() {
      await end()
      return { value: undefined, done: true }
    },
    async throw(error) {
      await end()
      throw error
    },
    [Symbol.asyncIterator]: () => results,
  }
  return results
}

function flows(source: AsyncIterable<unknown>): source is ChangeStream {
  return 'flowInto' in source
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
