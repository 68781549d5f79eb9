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
import type { ChangeEvent, ChangeOutlet, ChangeStream } from '../presence/feed.ts'

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
    let isReleased = false
    return {
      selection: known.selection,
      release() {
        if (isReleased) return
        isReleased = true
        known.userCount -= 1
        if (known.userCount === 0) ofDocument.delete(key)
      },
    }
  }

  return async function subscribe(args, outlet) {
    const source = await createSourceEventStream(args)
    if (!isAsyncIterable(source)) return source
    if (!isShareable(args)) return ownResults(source[Symbol.asyncIterator](), args)
    const { selection, release } = acquire(args)
    return outlet !== null && flows(source)
      ? flowingResults(source, new SelectedOutlet(selection, outlet), release)
      : sharedResults(source[Symbol.asyncIterator](), selection, release)
  }
}

// Apart, so that none keeps what it does not need: there are tens of thousands.

function ownResults(events: AsyncIterator<unknown>, args: ExecutionArgs): Results {
  return resultsOf(
    async () => {
      const { value, done } = await events.next()
      return done ? OVER : { value: await execute({ ...args, rootValue: value }), done: false }
    },
    () => events.return?.(),
  )
}

function sharedResults(events: AsyncIterator<unknown>, selection: Selection, release: () => void): Results {
  return resultsOf(
    async () => {
      const { value, done } = await events.next()
      return done ? OVER : { value: selection.resultOf(value as object), done: false }
    },
    () => {
      release()
      return events.return?.()
    },
  )
}

function flowingResults(stream: ChangeStream, outlet: ChangeOutlet, release: () => void): Results {
  return resultsOf(
    async () => {
      await stream.flowInto(outlet)
      return OVER
    },
    () => {
      release()
      return stream.return()
    },
  )
}

const OVER = { value: undefined, done: true } as const

/** Writes events as what its subscriber selected of them. */
class SelectedOutlet implements ChangeOutlet {
  readonly #selection: Selection
  readonly #outlet: PayloadOutlet

  constructor(selection: Selection, outlet: PayloadOutlet) {
    this.#selection = selection
    this.#outlet = outlet
  }

  isFull(): boolean {
    return this.#outlet.isFull()
  }

  write(event: ChangeEvent): void {
    this.#outlet.write(this.#selection.payloadOf(event))
  }

  onceDrained(resume: () => void): void {
    this.#outlet.onceDrained(resume)
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

  function executed(event: object): ExecutionResult {
    const result = execute({ ...args, rootValue: event })
    if ('then' in result) throw new Error('A field that is shared has to answer at once.')
    return result
  }

  function resultOf(event: object): ExecutionResult {
    let result = results.get(event)
    if (result === undefined) {
      result = executed(event)
      results.set(event, result)
    }
    return result
  }

  function payloadOf(event: object): string {
    if (event === lastEvent) return lastPayload
    let payload = payloads.get(event)
    if (payload === undefined) {
      payload = write(executed(event))
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

function resultsOf(next: () => Promise<IteratorResult<ExecutionResult, void>>, end: () => unknown): Results {
  const results: Results = {
    next,
    async return() {
      await end()
      return OVER
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
